"""Names in process lists, where the package setproctitle is installed (as in Gunicorn)."""

from __future__ import annotations


def set_title(title: str) -> None:
    """Names this process `podicorn: TITLE`."""
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    setproctitle(f"podicorn: {title}")


def prepare() -> None:
    """To be called before the environment changes: the package moves it to make room for the name."""
    try:
        from setproctitle import getproctitle
    except ImportError:
        return
    getproctitle()
