"""Traces: spans of requests and of the arbiter's own doings, as a collector gets them."""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest
from podtest import http
from podtest.collector import SERVER, Collector, make_identity
from podtest.server import Server
from podtest.types import ALL, every_type
from podtest.waiting import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
CALLER = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One that speaks HTTP."""
    with Collector() as made:
        yield made


def app_of(kind: tuple[str, ...]) -> str:
    return "traced:asgi" if "asgi" in kind else "traced:app"


@pytest.fixture
def traced(serve, collector):
    """Serves the traced app with the flags of a type, its own spans exported, too."""

    def start(*arguments: str, kind: tuple[str, ...] = (), app: str | None = None, **variables: str) -> Server:
        variables = {"APP_TRACES_ENDPOINT": f"{collector.address}/v1/traces", **variables}
        options = {"environment": collector.environment(**variables)}
        return serve(app or app_of(kind), *kind, *arguments, **options)

    return start


def ask(server: Server, target: str = "/", **headers: str) -> dict:
    """What the app tells of the request."""
    named = {"Host": "x", **{name.replace("_", "-"): value for name, value in headers.items()}}
    response = server.get(target, headers=named)
    assert response.status == 200, response.text
    return response.json()


# ---- requests ----


@every_type
def test_a_request_is_a_span_between_the_callers_and_the_apps(traced, collector, kind):
    server = traced(kind=kind)
    seen = ask(server, "/orders/1?q=2", traceparent=CALLER, tracestate="vendor=1", baggage="user=7")
    [request] = collector.wait_for("GET", url_path="/orders/1")
    [work] = collector.wait_for("work")
    assert (request.trace, request.parent, request.kind) == (TRACE, PARENT, SERVER)
    assert (work.trace, work.parent, work.id) == (TRACE, request.id, seen["span"])
    assert seen["headers"] == {
        "traceparent": f"00-{TRACE}-{request.id}-01",
        "tracestate": "vendor=1",
        "baggage": "user=7",
    }
    assert request.start <= work.start <= work.end
    assert work.start <= request.end
    assert request.resource["service.name"] == work.resource["service.name"] == "shop"
    assert request.resource["service.instance.id"]
    expected = {
        "http.request.method": "GET",
        "url.path": "/orders/1",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "podicorn.worker.slot": 0,
        "podicorn.worker.type": "sync" if not kind else kind[1],
        "podicorn.worker.pid": server.admin.pids()[0],
        "podicorn.generation": 1,
    }
    assert expected.items() <= request.attributes.items()
    assert request.attributes["podicorn.queue.duration"] > 0
    assert not request.error


@every_type
def test_a_request_without_a_caller_begins_a_trace(traced, collector, kind):
    server = traced(kind=kind)
    seen = ask(server, tracestate="of=nobody")
    [request] = collector.wait_for("GET")
    [work] = collector.wait_for("work")
    assert request.parent == ""
    assert (work.trace, work.parent) == (request.trace, request.id)
    assert "tracestate" not in seen["headers"], "it belongs to a trace that nobody has named"
    other = ask(server)
    assert other["trace"] != seen["trace"]


def test_a_damaged_context_is_no_context(traced, collector):
    server = traced()
    ask(server, "/1", traceparent=CALLER.upper())
    ask(server, "/2", traceparent=CALLER + "-more")
    with server.connect() as connection:
        head = f"GET /3 HTTP/1.1\r\nHost: x\r\ntraceparent: {CALLER}\r\ntraceparent: {CALLER}\r\n\r\n"
        connection.send(head.encode())
        assert connection.read_response().status == 200
    for path in ("/1", "/2", "/3"):
        [request] = collector.wait_for("GET", url_path=path)
        assert request.trace != TRACE
        assert request.parent == ""


@every_type
def test_a_callers_no_holds_for_the_server_and_the_app(traced, collector, kind):
    server = traced(kind=kind)
    seen = ask(server, "/quiet", traceparent=UNSAMPLED)
    assert (seen["headers"]["traceparent"], seen["sampled"]) == (UNSAMPLED, False)
    ask(server, "/loud", traceparent=CALLER)
    collector.wait_for("GET", url_path="/loud")
    assert collector.spans("GET", url_path="/quiet") == []


@every_type
def test_the_servers_no_is_told_to_the_app(traced, collector, kind):
    server = traced(kind=kind, OTEL_TRACES_SAMPLER="always_off")
    seen = ask(server, traceparent=CALLER)
    assert seen["headers"]["traceparent"] == UNSAMPLED
    begun = ask(server)
    assert begun["headers"]["traceparent"].endswith("-00")
    assert not begun["sampled"]
    assert server.stop() == 0
    assert collector.spans() == []


def test_a_share_of_the_traces_is_taken(traced, collector):
    server = traced("-k", "gthread", OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0.25")
    with server.connect() as connection:
        taken = 0
        for _ in range(400):
            connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            taken += connection.read_response().json()["sampled"]
    assert 50 < taken < 150
    collector.wait_for("GET", count=taken)
    assert server.stop() == 0
    assert len(collector.spans("GET")) == taken


def test_apps_of_tornado_are_told_too(traced, collector):
    server = traced("-k", "tornado", app="traced:tornado_app()")
    seen = ask(server, traceparent=CALLER, tracestate="vendor=1")
    [request] = collector.wait_for("GET")
    assert (request.trace, request.parent) == (TRACE, PARENT)
    assert seen["headers"] == {"traceparent": f"00-{TRACE}-{request.id}-01", "tracestate": "vendor=1"}
    assert "podicorn.queue.duration" not in request.attributes, "nobody knows when its first byte came"


@every_type
def test_errors_of_the_app_are_errors_of_the_span(traced, collector, kind):
    server = traced(kind=kind)
    assert server.get("/error").status == 500
    [request] = collector.wait_for("GET", url_path="/error")
    assert request.error
    assert request.attributes["error.type"] == "500"


@pytest.mark.parametrize("kind", [pytest.param(ALL[name], id=name) for name in ("sync", "gthread-4", "asgi")])
def test_a_deadline_is_an_event(traced, collector, kind):
    server = traced("--request-timeout", "1", kind=kind, SLOW="2.5")
    assert server.get("/slow", headers={"Host": "x", "traceparent": CALLER}).status == 504
    [request] = collector.wait_for("GET", url_path="/slow")
    assert (request.trace, request.parent) == (TRACE, PARENT)
    assert request.attributes["http.response.status_code"] == 504
    assert request.attributes["error.type"] == "timeout"
    assert "podicorn.request_timeout" in request.events


@every_type
def test_a_crash_is_an_event_of_the_request_that_was_served(traced, collector, kind):
    server = traced(kind=kind)
    with pytest.raises((OSError, http.ExchangeError)):
        server.get("/crash", headers={"Host": "x", "traceparent": CALLER})
    [request] = collector.wait_for("GET", url_path="/crash")
    assert (request.trace, request.parent) == (TRACE, PARENT)
    assert request.attributes["error.type"] == "worker_crash"
    assert request.events["podicorn.worker_crash"] == {"podicorn.worker.exit": "was killed by SIGKILL"}


def test_a_long_request_is_told_however_many_others_there_were(traced, collector):
    server = traced("-k", "gthread", "--threads", "4", SLOW="4")
    long = http.Connection(server.address)
    long.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    with server.connect() as connection:
        for _ in range(600):
            connection.send(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.read_response().status == 200
    assert long.read_response().status == 200
    long.close()
    [request] = collector.wait_for("GET", url_path="/slow")
    assert request.end - request.start >= 3_900_000_000
    collector.wait_for("GET", count=600, url_path="/quick")
    assert server.admin.metrics().value("podicorn_trace_spans_dropped_total") == 0


def test_the_scheme_is_what_a_proxy_says(traced, collector):
    server = traced()
    ask(server, X_Forwarded_Proto="https")
    [request] = collector.wait_for("GET")
    assert request.attributes["url.scheme"] == "https"


def test_without_a_collector_nothing_is_touched(serve):
    server = serve("traced:app")
    seen = ask(server, traceparent=CALLER, tracestate="vendor=1")
    assert seen["headers"] == {"traceparent": CALLER, "tracestate": "vendor=1"}
    assert ask(server)["headers"] == {}
    assert "podicorn_trace_spans" not in server.admin.metrics().text
    assert "traces" not in server.admin.pool()
    threads = [path.read_text().strip() for path in _threads(server.pid)]
    assert "trace-export" not in threads


def _threads(pid: int):
    from pathlib import Path

    return Path(f"/proc/{pid}/task").glob("*/comm")


# ---- the arbiter's own doings ----


def test_a_scale_order_is_part_of_the_callers_trace(traced, collector):
    server = traced("--workers", "1..4")
    order = {"workers": 3, "epoch": 5, "ttlSeconds": 60}
    answer = server.admin.call("PUT", "/scale", order, {"Host": "localhost", "traceparent": CALLER})
    assert answer.status == 200
    server.admin.wait_workers(3)
    [scale] = collector.wait_for("scale")
    assert (scale.trace, scale.parent, scale.kind) == (TRACE, PARENT, SERVER)
    assert scale.attributes["podicorn.scale.target"] == 3
    assert scale.attributes["podicorn.scale.previous"] == 1
    assert scale.attributes["podicorn.scale.reason"] == "lease"
    assert scale.attributes["podicorn.scale.epoch"] == 5
    assert "podicorn.scale.clamped" not in scale.attributes
    boots = [span for span in collector.wait_for("boot", count=3) if span.parent == scale.id]
    assert len(boots) == 2, "the workers that it has started"
    assert {span.trace for span in boots} == {TRACE}


def test_what_a_scale_order_comes_to_is_told(traced, collector):
    server = traced("--workers", "1..2")
    headers = {"Host": "localhost", "traceparent": CALLER}
    server.admin.call("PUT", "/scale", {"workers": 9, "epoch": 7, "ttlSeconds": 60}, headers)
    [clamped] = collector.wait_for("scale")
    assert clamped.attributes["podicorn.scale.clamped"] == "9 was lowered to 2, the max of --workers"
    collector.clear()
    stale = server.admin.call("PUT", "/scale", {"workers": 1, "epoch": 6, "ttlSeconds": 60}, headers)
    assert stale.status == 409
    [refused] = collector.wait_for("scale")
    assert refused.error
    assert "epoch 6 is older" in refused.message


@pytest.mark.parametrize(("verb", "target"), [("ttin", 2), ("ttou", 1)])
def test_steps_are_spans_too(traced, collector, verb, target):
    server = traced("--workers", "1")
    if verb == "ttou":
        server.admin.call("POST", "/scale/ttin")
    answer = server.admin.call("POST", f"/scale/{verb}", headers={"Host": "localhost", "traceparent": CALLER})
    assert answer.status == 200
    [scale] = [span for span in collector.wait_for("scale", podicorn_scale_target=target) if span.trace == TRACE]
    assert scale.parent == PARENT
    assert scale.attributes["podicorn.scale.reason"] == "step"


def test_a_signal_scales_in_a_trace_of_its_own(traced, collector):
    server = traced()
    server.send(signal.SIGTTIN)
    server.admin.wait_workers(2)
    [scale] = collector.wait_for("scale")
    assert (scale.parent, scale.attributes["podicorn.scale.reason"]) == ("", "signal")


def test_the_start_and_its_workers_are_told(traced, collector):
    server = traced("--workers", "2")
    server.admin.wait_workers(2)
    [start] = collector.wait_for("start")
    boots = collector.wait_for("boot", count=2)
    assert any(boot.parent == start.id for boot in boots)
    assert {boot.attributes["podicorn.worker.slot"] for boot in boots} == {0, 1}
    assert start.scope == "podicorn"


def test_a_reload_is_a_span(traced, collector):
    server = traced()
    server.admin.call("POST", "/reload", headers={"Host": "localhost", "traceparent": CALLER})
    [reload] = collector.wait_for("reload")
    assert (reload.trace, reload.parent) == (TRACE, PARENT)
    assert reload.attributes["podicorn.generation"] == 2
    boots = collector.wait_for("boot", count=2)
    assert [boot.parent for boot in boots if boot.trace == TRACE] == [reload.id]


def test_a_failed_reload_is_an_error(serve, collector, tmp_path):
    (tmp_path / "shop.py").write_text(
        "def app(environ, start_response):\n    start_response('204 x', [])\n    return []\n"
    )
    server = serve("shop:app", cwd=tmp_path, environment=collector.environment())
    (tmp_path / "shop.py").write_text("raise RuntimeError('broken')\n")
    server.send(signal.SIGHUP)
    [reload] = collector.wait_for("reload")
    assert reload.error


def test_a_recycled_worker_is_told(traced, collector):
    server = traced("--max-requests", "3")
    for _ in range(3):
        ask(server)
    [recycle] = collector.wait_for("recycle")
    assert recycle.attributes["podicorn.reason"] == "it has served max_requests"
    assert recycle.end > recycle.start


# ---- the collector ----

#: Seconds that it is away for; `PODTEST_AWAY=60` for a long run.
AWAY = float(os.environ.get("PODTEST_AWAY", "0"))


@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
def test_spans_wait_for_a_collector_that_is_away(serve, grpc):
    with Collector(grpc=grpc) as collector:
        server = serve("traced:app", "-k", "gthread", environment=collector.environment())
        ask(server, "/before")
        collector.wait_for("GET", url_path="/before")
        collector.stop()
        for number in range(50):
            ask(server, f"/away/{number}")
        server.err.wait_for("Traces cannot be exported")
        time.sleep(AWAY)
        assert server.admin.metrics().value("podicorn_trace_export_failures_total") >= 1
        assert server.admin.metrics().value("podicorn_trace_spans_waiting") > 0
        collector.start()
        server.err.wait_for("Traces are exported again")
        for number in range(50):
            collector.wait_for("GET", url_path=f"/away/{number}")
        assert server.admin.metrics().value("podicorn_trace_spans_dropped_total") == 0
        assert server.stop() == 0


def test_memory_is_bounded_while_the_collector_is_away(serve, collector):
    collector.stop()
    variables = collector.environment(OTEL_BSP_MAX_QUEUE_SIZE="100", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="20")
    server = serve("traced:app", "-k", "gthread", environment=variables)
    with server.connect() as connection:
        for _ in range(500):
            connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.read_response().status == 200
    metrics = wait_until(
        lambda: (m := server.admin.metrics()).value("podicorn_trace_spans_dropped_total", reason="queue_full") and m,
        "dropped spans",
    )
    assert metrics.value("podicorn_trace_spans_waiting") <= 100
    collector.start()
    server.err.wait_for("Traces are exported again")

    def settled() -> bool:
        now = server.admin.metrics()
        kept = now.value("podicorn_trace_spans_exported_total")
        lost = now.value("podicorn_trace_spans_dropped_total")
        # 500 requests, the start, and the boot of the worker.
        return now.value("podicorn_trace_spans_waiting") == 0 and kept + lost == 502

    wait_until(settled, lambda: f"each span accounted for: {server.admin.metrics().text}")


def test_what_the_collector_may_take_later_is_sent_again(serve, collector):
    collector.refusals = [503, 429, 502]
    server = serve("traced:app", environment=collector.environment())
    ask(server, "/again")
    collector.wait_for("GET", url_path="/again")
    assert server.admin.metrics().value("podicorn_trace_export_failures_total") == 3


def test_what_the_collector_refuses_is_dropped_and_counted(serve, collector):
    collector.refusals = [400]
    server = serve("traced:app", environment=collector.environment(OTEL_BSP_SCHEDULE_DELAY="1000"))
    dropped = wait_until(
        lambda: server.admin.metrics().value("podicorn_trace_spans_dropped_total", reason="undelivered"), "a refusal"
    )
    assert dropped == 2
    ask(server, "/after")
    collector.wait_for("GET", url_path="/after")


@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_headers_and_compression(serve, grpc, compression):
    with Collector(grpc=grpc) as collector:
        variables = collector.environment(
            OTEL_EXPORTER_OTLP_HEADERS="api-key=a%20secret", OTEL_EXPORTER_OTLP_COMPRESSION=compression
        )
        server = serve("traced:app", environment=variables)
        ask(server, "/told")
        collector.wait_for("GET", url_path="/told")
        assert collector.headers[0]["api-key"] == "a secret"
        if not grpc:
            assert collector.headers[0].get("content-encoding", "none") == compression


@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
def test_a_collector_behind_tls(serve, tmp_path, grpc):
    identity = make_identity(tmp_path)
    with Collector(grpc=grpc, identity=identity) as collector:
        trusting = collector.environment(OTEL_EXPORTER_OTLP_CERTIFICATE=str(identity[0]))
        server = serve("traced:app", environment=trusting)
        ask(server, "/secret")
        collector.wait_for("GET", url_path="/secret")
        (tmp_path / "other").mkdir()
        stranger = make_identity(tmp_path / "other")[0]
        wary = serve("traced:app", environment=trusting | {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(stranger)})
        wary.err.wait_for("Traces cannot be exported, requests go on as ever: localhost:.*certificate")
        ask(wary, "/not-told")
    assert collector.spans("GET", url_path="/not-told") == []


@pytest.mark.parametrize("grpc", [False, True], ids=["http", "grpc"])
def test_a_collector_that_does_not_answer_slows_nobody(serve, grpc):
    with Collector(grpc=grpc) as collector:
        collector.delay = 3600
        server = serve("traced:app", "-k", "gthread", environment=collector.environment(OTEL_BSP_MAX_QUEUE_SIZE="50"))
        with server.connect() as connection:
            for _ in range(300):
                connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert connection.read_response().status == 200
        assert server.admin.ready()
        # The exit waits for the export, but not for ever.
        assert server.stop() == 0
        collector.delay = 0


def test_the_last_spans_are_sent_at_the_end(serve, collector):
    server = serve("traced:app", environment=collector.environment(OTEL_BSP_SCHEDULE_DELAY="3600000"))
    ask(server, "/last")
    assert server.stop() == 0
    assert [span.attributes["url.path"] for span in collector.spans("GET")] == ["/last"]


def test_settings_that_cannot_be_followed_are_told(serve, collector):
    variables = collector.environment(OTEL_EXPORTER_OTLP_PROTOCOL="http/json", OTEL_TRACES_SAMPLER="mine")
    server = serve("traced:app", environment=variables)
    server.err.wait_for('OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" is not understood')
    server.err.wait_for('OTEL_TRACES_SAMPLER: "mine" is not understood')
    ask(server, "/all-the-same")
    collector.wait_for("GET", url_path="/all-the-same")


# ---- logs ----


@every_type
def test_json_logs_say_which_trace_a_line_belongs_to(traced, collector, kind):
    server = traced("--log-format", "json", "--access-logfile", "-", kind=kind)
    server.get("/error", headers={"Host": "x", "traceparent": CALLER})
    ask(server, "/fine", traceparent=CALLER)
    [fine] = collector.wait_for("GET", url_path="/fine")
    server.out.wait_for("/fine")
    access = {record["path"]: record for record in map(json.loads, server.out.lines())}
    assert (access["/fine"]["trace_id"], access["/fine"]["span_id"]) == (TRACE, fine.id)
    assert access["/error"]["trace_id"] == TRACE
    server.err.wait_for("the app raised")
    raised = [record for record in map(json.loads, server.err.lines()) if "exception" in record]
    assert [record["trace_id"] for record in raised] == [TRACE]


@every_type
def test_what_the_app_prints_and_logs_belongs_to_its_request(serve, gate, kind):
    """Requests that run at the same time are not mixed up, nor is what comes between them given to any."""
    app = "printing:asgi" if "asgi" in kind else "printing:app"
    server = serve(app, *kind, "--log-format", "json", "--capture-output", environment=gate.environment)
    traces = {f"/{digit}": digit * 32 for digit in "abc"}
    together = 1 if kind in (ALL["sync"], ALL["gthread-1"]) else 3
    clients = []
    for path, trace in traces.items():
        clients.append(server.connect())
        clients[-1].send(http.head("GET", path, {"traceparent": f"00-{trace}-{PARENT}-01"}))
    for number in range(1, 4, together):
        visitors = gate.wait(together)
        assert len(visitors) == together, number
        for visitor in reversed(visitors):
            gate.release(visitor)
    for client in clients:
        assert client.read_response().body == b"done\n"
        client.close()
    gate.open()
    assert server.get("/untraced").status == 200
    server.stop()
    said = {}
    for record in map(json.loads, server.err.lines()):
        what, _, path = record["message"].strip().rpartition(" ")
        if path in (*traces, "/untraced"):
            said.setdefault(what, {})[path] = (record.get("trace_id"), record.get("span_id"))
    last = "in a thread" if "asgi" in kind else "wsgi.errors"
    expected = {path: (trace, PARENT) for path, trace in traces.items()} | {"/untraced": (None, None)}
    assert set(said) == {"printed", "logged", "by the shop", "after the wait", "while sending", last}
    for what, ids in said.items():
        assert ids == expected, what


def test_the_access_log_knows_the_callers_trace_without_a_collector(serve):
    server = serve("traced:app", "--log-format", "json", "--access-logfile", "-")
    ask(server, "/fine", traceparent=CALLER)
    ask(server, "/none")
    server.out.wait_for("/none")
    access = {record["path"]: record for record in map(json.loads, server.out.lines())}
    assert (access["/fine"]["trace_id"], access["/fine"]["span_id"]) == (TRACE, PARENT)
    assert "trace_id" not in access["/none"]


def test_the_arbiters_lines_about_an_order_carry_its_trace(traced):
    server = traced("--log-format", "json", "--workers", "1..4")
    order = {"workers": 2, "epoch": 1, "ttlSeconds": 60}
    server.admin.call("PUT", "/scale", order, {"Host": "localhost", "traceparent": CALLER})
    server.err.wait_for("Workers wanted: 2")
    lines = [json.loads(line) for line in server.err.lines() if "Workers wanted: 2" in line]
    assert [line["trace_id"] for line in lines] == [TRACE]


def test_a_dead_workers_line_names_the_trace_of_its_request(traced):
    server = traced("--log-format", "json")
    with pytest.raises((OSError, http.ExchangeError)):
        server.get("/crash", headers={"Host": "x", "traceparent": CALLER})
    server.err.wait_for("while serving GET /crash")
    lines = [json.loads(line) for line in server.err.lines() if "while serving GET /crash" in line]
    assert [line["trace_id"] for line in lines] == [TRACE]
