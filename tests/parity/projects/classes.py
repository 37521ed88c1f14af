"""Worker classes that a project derives from a library's."""

import os

from uvicorn.workers import UvicornWorker


class ArchiveWorker(UvicornWorker):
    """With the root path and the lifespan of its project."""

    CONFIG_KWARGS = {"loop": "asyncio", "lifespan": "off", "root_path": os.getenv("ARCHIVE_ROOT", "/archive")}
