"""Notes and uploaded files."""
