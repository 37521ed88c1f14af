"""Raises at import."""

raise RuntimeError("the database is not there")
