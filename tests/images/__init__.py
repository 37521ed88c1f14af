"""`make images`: deploy/*.Dockerfile built with Debian's container tools, and run as a pod would run them."""
