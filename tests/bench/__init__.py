"""The benchmark: Podicorn and its peers side by side, in one run. ``make bench``; see README.md."""
