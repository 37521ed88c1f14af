"""Demonstrations: the real server under load, for people to look at. Not tests: they measure and assert nothing."""
