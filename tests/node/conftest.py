"""One node for the whole suite, with the operator on it, and a namespace that enforces the standard `restricted`."""

import os
import shutil
from pathlib import Path

import pytest

from node.machine import machine
from node.operator import installed


def keep(directory):
    """PODICORN_NODE_LOGS names a directory for the logs of all programs."""
    kept = os.environ.get("PODICORN_NODE_LOGS")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        for log in directory.glob("*.log"):
            shutil.copy(log, kept)


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """The node."""
    directory = tmp_path_factory.mktemp("n")
    try:
        with machine(directory) as running:
            yield running
    finally:
        keep(directory)


@pytest.fixture(scope="session")
def operator(node, tmp_path_factory):
    """The operator, installed by Helm as README says."""
    return installed(node, tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def namespace(node):
    """Where the apps are."""
    return node.cluster.namespace()
