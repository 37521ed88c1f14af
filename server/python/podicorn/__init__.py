"""Podicorn: a pre-fork server for Python web apps in pods.

The program `podicorn` is the arbiter, written in Rust. This package is what it runs inside Python: the fork server
(`podicorn.forkserver`) and the workers (`podicorn.worker`) with their HTTP engine (`podicorn._engine`). How they talk
is in PROTOCOL.md; nothing here is meant to be imported by apps.
"""

__version__ = "0.1.0"
