"""One control plane for each process that runs tests."""

import pytest

from charts.cluster import control_plane


@pytest.fixture(scope="session")
def control(tmp_path_factory):
    """The control plane and what stands for its nodes."""
    with control_plane(tmp_path_factory.mktemp("cluster")) as both:
        yield both


@pytest.fixture
def cluster(control):
    """The control plane."""
    return control[0]


@pytest.fixture
def pods(control):
    """What stands for the nodes."""
    yield control[1]
    control[1].failing.clear()
