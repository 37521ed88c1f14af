"""Dies by SIGSEGV at import, as a broken C extension does."""

import ctypes

ctypes.string_at(0)
