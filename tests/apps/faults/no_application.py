"""Has no app."""

something = 1


def factory_that_fails():
    raise LookupError("no tenant is configured")


def factory_returns_nothing():
    return None
