"""Modules of the standard library that most apps import, imported once in the fork server: workers share their pages.

Without `--preload` every worker imports the app on its own; what of that is the same in all of them need not be in
memory once for each. The list is what Gunicorn's master has imported before it forks, so an app finds no module there
that it would not find under Gunicorn.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

#: With what each of them imports.
NAMES = (
    "argparse", "ast", "base64", "bisect", "bz2", "calendar", "concurrent.futures", "copy", "csv", "datetime",
    "email.header", "email.message", "email.utils", "fnmatch", "gettext", "glob", "html", "importlib.metadata",
    "importlib.resources", "importlib.util", "inspect", "ipaddress", "json", "locale", "logging.config",
    "logging.handlers", "lzma", "pathlib", "pickle", "platform", "queue", "quopri", "random", "shlex", "shutil",
    "socketserver", "ssl", "string", "struct", "tempfile", "textwrap", "typing", "urllib.parse", "weakref", "zipfile",
    "zlib",
)  # fmt: skip


def load() -> None:
    """Imports them from the standard library alone: a file of the app by one of these names is none of our business."""
    library = os.path.dirname(os.__file__)
    path = sys.path[:]
    sys.path[:] = [entry for entry in path if entry in (library, os.path.join(library, "lib-dynload"))]
    try:
        for name in NAMES:
            # A Python that was built without one of them does without.
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    finally:
        sys.path[:] = path
