"""Gives up the privileges of root, by Gunicorn's rules."""

from __future__ import annotations

import os

from podicorn.failure import BOOT_ERROR, Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def become(uid: int, gid: int, initgroups: bool) -> None:
    """Changes group, then user. Without `initgroups` the supplementary groups stay (a pod's fsGroup is one of them)."""
    if gid:
        name = _user_name(uid) if initgroups and uid else None
        if name is not None:
            _or_say("the groups of its user", name, lambda: os.initgroups(name, gid))
        if gid != os.getgid() or gid != os.getegid():
            _or_say("group", gid, lambda: os.setgid(gid))
    if uid and (uid != os.getuid() or uid != os.geteuid()):
        _or_say("user", uid, lambda: os.setuid(uid))


def _user_name(uid: int) -> str | None:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        # A user without a name has no groups either.
        return None


def _or_say(what: str, value: object, change: Callable[[], None]) -> None:
    try:
        change()
    except OSError as error:
        raise Failure(
            "app",
            BOOT_ERROR,
            f"a worker cannot take on {what} {value}: {error.strerror}; start the server as root (with the "
            "capabilities SETUID and SETGID), or leave out the settings user and group",
        ) from error
