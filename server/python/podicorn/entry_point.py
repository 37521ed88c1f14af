"""Classes that installed packages announce: `egg:DIST#NAME` and a bare name, as Gunicorn has them."""

from __future__ import annotations

from podicorn.failure import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

EGG = "egg:"


def of_package(name: str, group: str, what: str) -> EntryPoint:
    """The one that `egg:DIST#NAME` or, where there is no other, `egg:DIST` means. Raises Failure."""
    from importlib.metadata import PackageNotFoundError, distribution

    package, _, wanted = name[len(EGG) :].partition("#")
    try:
        announced = distribution(package).entry_points.select(group=group)
    except PackageNotFoundError as error:
        raise Failure.config(f"{what} {name}: the package {package!r} is not installed") from error
    found = [point for point in announced if wanted in ("", point.name)]
    if len(found) != 1:
        names = ", ".join(sorted(point.name for point in announced)) or "none"
        raise Failure.config(
            f"{what} {name}: name one entry point of the group {group} as {EGG}{package}#NAME; {package} has: {names}"
        )
    return found[0]


def of_any(name: str, group: str) -> EntryPoint | None:
    """The first of that name, whatever package has it."""
    from importlib.metadata import entry_points

    return next(iter(entry_points(group=group, name=name)), None)
