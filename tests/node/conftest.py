"""One node for the whole suite, with the operator on it, and a namespace that enforces the standard `restricted`."""

import os
from pathlib import Path

import pytest

from node.machine import machine
from node.operator import installed


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """The node; the ends of its logs where something failed."""
    directory = tmp_path_factory.mktemp("n")
    with machine(directory) as running:
        yield running


@pytest.fixture(scope="session")
def operator(node, tmp_path_factory):
    """The operator, installed by Helm as README says."""
    return installed(node, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def namespace(node):
    """Where the apps are."""
    return node.cluster.namespace()


@pytest.fixture(autouse=True)
def kept_logs(request, node):
    """PODICORN_NODE_LOGS names a directory for the logs of all programs."""
    yield
    directory = os.environ.get("PODICORN_NODE_LOGS")
    if directory:
        Path(directory).mkdir(parents=True, exist_ok=True)
        for log in node.directory.glob("*.log"):
            (Path(directory) / log.name).write_bytes(log.read_bytes())
