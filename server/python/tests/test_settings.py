"""The `cfg` of hooks."""

import pytest

from podicorn.settings import Settings

LISTENERS = [
    {"family": "tcp", "address": "http://[::1]:80", "host": "::1", "port": 80},
    {"family": "unix", "address": "unix:/run/a.sock", "path": "/run/a.sock"},
]


class MyWorker:
    pass


def hook(server):
    pass


def settings(python=None, **values):
    merged = {"workers": 2, "user": 7, "group": 8, "raw_env": ["A=1", "B=x=y"], "proc_name": None, "when_ready": True}
    return Settings(merged | values, python or {}, LISTENERS)


def test_attributes():
    cfg = settings({"when_ready": hook})
    assert (cfg.workers, cfg.uid, cfg.gid) == (2, 7, 8)
    assert cfg.when_ready is hook
    assert cfg.env == {"A": "1", "B": "x=y"}
    assert cfg.address == [("::1", 80), "/run/a.sock"]
    assert cfg.proc_name == "podicorn"
    assert settings(proc_name="shop").proc_name == "shop"
    assert not cfg.is_ssl


def test_unknown_names():
    cfg = settings()
    with pytest.raises(AttributeError, match="No configuration setting for: nothing"):
        cfg.nothing  # noqa: B018
    with pytest.raises(AttributeError):
        cfg.set("nothing", 1)


def test_changes():
    cfg = settings()
    with pytest.raises(AttributeError, match=r"cfg\.set"):
        cfg.workers = 3
    cfg.set("workers", 3)
    assert cfg.workers == cfg.settings["workers"].get() == cfg.settings["workers"].value == 3
    cfg.settings["workers"].set(4)
    assert cfg.workers == 4
    cfg.note = "hooks may keep what they like"
    assert cfg.note == "hooks may keep what they like"


def test_a_class_counts_only_if_it_was_not_overridden():
    name = f"{MyWorker.__module__}:MyWorker"
    assert settings({"worker_class": MyWorker}, worker_class=name).worker_class is MyWorker
    assert settings({"worker_class": MyWorker}, worker_class="sync").worker_class == "sync"
    assert settings({"worker_class": MyWorker}, worker_class=name).worker_class_str == "MyWorker"
