"""Never finishes its import and never gives up the GIL."""

from faults.hog import deadlock_in_c


def load_the_model():
    deadlock_in_c()


load_the_model()
