"""What hooks and apps of these projects have seen, as lines of a file that both servers write to in the same way."""

import os


def note(hook, **details):
    """One line: the hook and what it saw, without anything that differs from run to run."""
    words = " ".join(f"{name}={value}" for name, value in sorted(details.items()))
    line = f"{hook} {words}".strip() + "\n"
    descriptor = os.open(os.environ["PROJECT_RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
