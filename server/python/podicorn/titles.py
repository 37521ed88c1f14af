"""Names in process lists, where the package setproctitle is installed (as in Gunicorn)."""

from __future__ import annotations


def set_title(title: str) -> bool:
    """Names this process `podicorn: TITLE`; whether the package is there."""
    try:
        from setproctitle import setproctitle
    except ImportError:
        return False
    setproctitle(f"podicorn: {title}")
    return True


def prepare() -> None:
    """To be called before the environment changes: the package moves it to make room for the name."""
    try:
        from setproctitle import getproctitle
    except ImportError:
        return
    getproctitle()
