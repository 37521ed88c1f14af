"""The loggers."""

import fcntl
import json
import logging
import os
import re
import time
from datetime import datetime

import pytest

from podicorn.failure import Failure
from podicorn.log import DescriptorHandler, JsonFormatter, Logger
from podicorn.settings import Settings

from arbiter import default_settings


def make(**changes):
    return Logger(Settings(default_settings(**changes), {}, []))


@pytest.fixture(autouse=True)
def clean():
    yield
    for name in ("gunicorn.error", "gunicorn.access"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


def test_gunicorns_format(tmp_path):
    path = tmp_path / "error.log"
    log = make(errorlog=str(path))
    log.info("Booting worker with pid: %s", 7)
    log.debug("not at this level")
    assert re.fullmatch(
        rf"\[\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{{4}}\] \[{os.getpid()}\] \[INFO\] Booting worker with pid: 7\n",
        path.read_text(),
    )


def test_json_lines(tmp_path):
    path = tmp_path / "error.log"
    log = make(errorlog=str(path), log_format="json", loglevel="debug")
    log.debug('a "quoted"\nline ü')
    try:
        raise ValueError("wrong")
    except ValueError:
        log.exception("failed")
    first, second = map(json.loads, path.read_text().splitlines())
    assert set(first) == {"time", "level", "pid", "logger", "message"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d", first["time"])
    assert abs(datetime.fromisoformat(first["time"]).timestamp() - time.time()) < 60
    assert (first["level"], first["pid"], first["logger"]) == ("debug", os.getpid(), "gunicorn.error")
    assert first["message"] == 'a "quoted"\nline ü'
    assert second["exception"].startswith("Traceback") and "ValueError: wrong" in second["exception"]


def test_a_second_setup_does_not_double_the_lines(tmp_path):
    path = tmp_path / "error.log"
    log = make(errorlog=str(path))
    log.setup(log.cfg)
    log.warning("once")
    assert path.read_text().count("once") == 1


def test_files_are_reopened(tmp_path):
    path = tmp_path / "error.log"
    log = make(errorlog=str(path))
    log.error("one")
    path.rename(tmp_path / "error.log.1")
    log.error("two")
    log.reopen_files()
    log.error("three")
    assert path.read_text().count("\n") == 1 and "three" in path.read_text()
    path.rename(tmp_path / "error.log.2")
    log.reopen_moved_files()
    log.error("four")
    assert "four" in path.read_text()


def test_no_error_log_is_silence(capfd):
    make(errorlog=None).critical("nothing")
    assert capfd.readouterr() == ("", "")


def test_a_log_that_cannot_be_opened(tmp_path):
    with pytest.raises(Failure, match=r"cannot open the log file '.*/no/such/dir': No such file or directory"):
        make(errorlog=str(tmp_path / "no/such/dir"))


def record(text):
    return logging.LogRecord("x", logging.INFO, __file__, 1, text, (), None)


@pytest.fixture
def pipe():
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 65536)
    yield read, write
    os.close(read)
    os.close(write)


def test_a_reader_that_has_stopped_costs_lines_and_no_time(pipe):
    read, write = pipe
    handler = DescriptorHandler(write)
    # More than the pipe holds: this would block for ever if it blocked at all.
    for number in range(200):
        handler.emit(record(f"{number} " + "x" * 1000))
    first = os.read(read, 1 << 20).decode()
    handler.emit(record("after"))
    second = os.read(read, 1 << 20).decode()
    whole = first.splitlines()
    kept = len(whole)
    assert whole == [f"{number} " + "x" * 1000 for number in range(kept)]
    assert second.splitlines() == [f"({200 - kept} log lines were lost: nothing read them)", "after"]


def test_a_line_torn_by_a_full_pipe_is_ended(pipe):
    read, write = pipe
    handler = DescriptorHandler(write)
    handler.emit(record("y" * 100_000))
    torn = os.read(read, 1 << 20)
    assert 0 < len(torn) < 100_000
    handler.emit(record("next"))
    assert os.read(read, 1 << 20).decode() == "\n(1 log lines were lost: nothing read them)\nnext\n"


def test_long_lines_arrive_whole(tmp_path):
    with open(tmp_path / "file", "w") as file:
        DescriptorHandler(file.fileno()).emit(record("z" * 50_000))
    assert (tmp_path / "file").read_text() == "z" * 50_000 + "\n"


def test_a_closed_descriptor_is_no_error(capfd):
    read, write = os.pipe()
    os.close(read)
    handler = DescriptorHandler(write)
    handler.emit(record("nobody hears"))
    os.close(write)
    handler.emit(record("nobody hears"))
    assert capfd.readouterr() == ("", "")


def test_undecodable_text_is_written_all_the_same(tmp_path):
    with open(tmp_path / "file", "w") as file:
        handler = DescriptorHandler(file.fileno())
        handler.emit(record("\udcff"))
        handler.setFormatter(JsonFormatter())
        handler.emit(record("\udcff"))
    text = (tmp_path / "file").read_text()
    assert text.startswith("\\udcff\n")
    json.loads(text.splitlines()[1])


def test_a_record_that_belongs_to_a_trace_says_so():
    traced = record("slow")
    traced.trace_id, traced.span_id = "4bf9", "00f0"
    line = json.loads(JsonFormatter().format(traced))
    assert (line["trace_id"], line["span_id"]) == ("4bf9", "00f0")
    assert "trace_id" not in json.loads(JsonFormatter().format(record("other")))
