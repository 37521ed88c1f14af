"""The admin API: probes, metrics, the pool, /scale, and who may do what."""

import json
import signal
import time

import pytest
from podtest import http
from podtest.admin import Admin
from podtest.ports import free_port
from podtest.server import settle
from podtest.waiting import wait_until

GUARDED = [
    ("GET", "/workers"), ("GET", "/workers/0/stack"), ("GET", "/watch"), ("GET", "/scale"), ("PUT", "/scale"),
    ("POST", "/scale/ttin"), ("POST", "/scale/ttou"), ("POST", "/reload"), ("POST", "/drain"), ("GET", "/config"),
    ("GET", "/openapi.json"),
]  # fmt: skip
OPEN = ["/livez", "/readyz", "/startupz", "/metrics"]


def problem(response: http.Response, status: int) -> dict:
    """RFC 9457."""
    assert response.status == status, response
    assert response.header("Content-Type") == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["title"]
    assert body["type"]
    assert body["detail"]
    return body


# ---- probes ----


def test_probes_of_a_healthy_server(serve):
    server = serve("hello:app")
    for path in ("/livez", "/readyz", "/startupz"):
        response = server.admin.get(path)
        assert response.status == 200
        assert response.text.strip() == "ok"
        verbose = server.admin.get(path + "?verbose")
        assert verbose.status == 200
        assert "[+]" in verbose.text
        assert server.admin.call("HEAD", path).status == 200


def test_a_probe_answers_while_every_worker_is_busy(serve, gate):
    server = serve("probe:app", environment=gate.environment)
    clients = []
    for number in range(3):
        client = server.connect()
        client.send(http.head("GET", f"/hold/{number}"))
        clients.append(client)
    gate.wait(1)
    assert [server.admin.status(path) for path in OPEN] == [200] * 4
    gate.open()
    for client in clients:
        client.read_response()


def test_many_probes_at_once_and_on_one_connection(serve):
    server = serve("hello:app")
    clients = [http.Connection(server.admin.address) for _ in range(100)]
    for client in clients:
        client.send(http.head("GET", "/readyz", {"Host": "localhost"}))
    assert [client.read_response().status for client in clients] == [200] * 100
    for client in clients:
        client.send(http.head("GET", "/livez", {"Host": "localhost"}))
        assert client.read_response().status == 200
        client.close()


def test_silent_clients_do_not_use_up_the_admin_port(serve):
    server = serve("hello:app")
    silent = [http.Connection(server.admin.address) for _ in range(500)]
    for client in silent[::2]:
        client.send(b"GET /livez HT")
    assert server.admin.status("/livez") == 200
    for client in silent:
        client.close()


# ---- the pool ----


def test_workers(serve):
    server = serve("probe:app", "--workers", "2")
    server.admin.wait_workers(2)
    for _ in range(10):
        server.get("/environ?token=hidden")
    pool = server.admin.pool()
    assert len(pool["workers"]) == 2
    assert {worker["slot"] for worker in pool["workers"]} == {0, 1}
    assert sum(worker["requests"] for worker in pool["workers"]) == 10
    assert pool["totals"]["requests"]["2xx"] == 10
    assert pool["startupDone"] is True
    assert pool["phase"] == "running"
    recent = [request for worker in pool["workers"] for request in worker["recentRequests"]]
    assert {(request["method"], request["path"], request["status"]) for request in recent} == {("GET", "/environ", 200)}
    assert "hidden" not in json.dumps(pool), "query strings carry secrets"


def test_the_stack_of_a_worker(serve, gate):
    server = serve("probe:app", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/here"))
        gate.wait(1, "here")
        slot = server.admin.workers()[0]["slot"]
        response = server.admin.get(f"/workers/{slot}/stack")
        assert response.status == 200
        assert "gate_client.py" in response.text
        assert "pause" in response.text
        gate.open()
        assert client.read_response().body == b"released\n", "asking for a stack hurts no request"
    problem(server.admin.get("/workers/77/stack"), 404)


def test_the_stack_of_an_idle_worker(serve):
    server = serve("probe:app")
    slot = server.admin.workers()[0]["slot"]
    assert server.admin.get(f"/workers/{slot}/stack").status == 200
    assert server.get("/").status == 200


def test_config_shows_values_and_where_they_come_from(serve):
    server = serve("hello:app", "--workers", "2", environment={"PODICORN_GRACEFUL_TIMEOUT": "17"})
    text = server.admin.get("/config").text
    assert "graceful_timeout" in text
    assert "17" in text
    assert "PODICORN_GRACEFUL_TIMEOUT" in text
    assert "--workers" in text


def test_openapi_describes_the_routes(serve):
    document = serve("hello:app").admin.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    wanted = {(method, path.replace("/0/", "/{slot}/")) for method, path in GUARDED} | {("GET", path) for path in OPEN}
    assert wanted <= described


def test_the_page(serve):
    response = serve("hello:app").admin.get("/")
    assert response.status == 200
    assert response.header("Content-Type").startswith("text/html")


# ---- metrics ----


def test_metrics_are_open_metrics(serve):
    server = serve("probe:app", "--workers", "2")
    server.admin.wait_workers(2)
    for _ in range(7):
        server.get("/")
    server.get("/no/such")
    response = server.admin.get("/metrics")
    assert response.header("Content-Type").startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")
    metrics = server.admin.metrics()
    assert all(name.startswith(("podicorn_", "process_")) for name, _ in metrics.samples)
    requests = {labels: v for (name, labels), v in metrics.samples.items() if name == "podicorn_requests_total"}
    assert sum(requests.values()) == 8
    assert metrics.value("podicorn_requests_total", **{dict_key(requests): "2xx"}) == 7
    assert metrics.value("podicorn_requests_total", **{dict_key(requests): "4xx"}) == 1


def dict_key(samples) -> str:
    """The label that holds the status class."""
    return next(iter(samples))[0][0]


def test_metrics_count_concurrent_load_exactly(serve):
    from podtest.load import Load

    server = serve("hello:app", "--workers", "3")
    server.admin.wait_workers(3)
    with Load(server.address, clients=6, limit=1500) as load:
        while load.done() < 1500:
            server.admin.metrics()
            time.sleep(0.05)
    assert load.summary() == {"ok": 1500}
    # A client may see the end of its connection before the worker is at the end of the request.
    wait_until(
        lambda: server.admin.metrics().value("podicorn_request_duration_seconds_count") == 1500,
        lambda: f"1500 durations: {server.admin.metrics().value('podicorn_request_duration_seconds_count')}",
    )
    assert server.admin.metrics().value("podicorn_requests_total") == 1500


# ---- scale ----


def test_scale_up_and_down(serve, as_pid1):
    server = serve("hello:app", "--workers", "2", pid1=as_pid1)
    view = server.admin.scale(5)
    assert view["target"] == 5
    assert view["base"] == 2
    server.admin.wait_workers(5)
    server.admin.scale(1)
    server.admin.wait_workers(1)
    assert server.get().status == 200


def test_epochs(serve):
    server = serve("hello:app")

    def put(**body):
        return server.admin.call("PUT", "/scale", body)

    assert put(workers=2, epoch=10, ttlSeconds=600).status == 200
    assert put(workers=2, epoch=10, ttlSeconds=600).status == 200, "the same again renews"
    problem(put(workers=3, epoch=10, ttlSeconds=600), 409)
    problem(put(workers=3, epoch=9, ttlSeconds=600), 409)
    assert put(workers=3, epoch=(7 << 32) + 1, ttlSeconds=600).status == 200
    problem(put(workers=2, epoch=11, ttlSeconds=600), 409)
    server.admin.wait_workers(3)
    view = server.admin.get("/scale").json()
    assert view["target"] == 3
    assert view["lease"]["epoch"] == (7 << 32) + 1
    assert 0 < view["lease"]["remainingSeconds"] <= 600


def test_a_lease_ends_and_a_fixed_number_returns(serve):
    server = serve("hello:app", "--workers", "2")
    server.admin.scale(4, ttl=2)
    server.admin.wait_workers(4)
    server.admin.wait_workers(2)
    assert server.admin.get("/scale").json()["lease"] is None


def test_a_lease_ends_and_a_range_goes_on_from_the_count(serve):
    server = serve("hello:app", "--workers", "1..6")
    server.admin.wait_workers(1)
    server.admin.scale(3, ttl=2)
    server.admin.wait_workers(3)
    wait_until(lambda: server.admin.get("/scale").json()["lease"] is None, "the lease's end")
    settle(1)
    server.admin.wait_workers(3)


def test_a_lease_outlives_a_reload_and_a_crash(serve):
    import os

    server = serve("hello:app")
    server.admin.scale(3)
    server.admin.wait_workers(3)
    server.send(signal.SIGHUP)
    wait_until(lambda: server.admin.pool()["generation"] == 2, "the second generation")
    server.admin.wait_workers(3)
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGKILL)
    server.admin.wait_workers(3)
    assert server.admin.get("/scale").json()["target"] == 3


def test_steps(serve):
    server = serve("hello:app")
    up = server.admin.call("POST", "/scale/ttin")
    assert up.status == 200
    assert up.json()["changed"] is True
    server.admin.wait_workers(2)
    assert server.admin.call("POST", "/scale/ttou").status == 200
    server.admin.wait_workers(1)
    at_the_end = server.admin.call("POST", "/scale/ttou").json()
    assert at_the_end["changed"] is False
    assert at_the_end["message"]


def test_steps_under_a_lease_move_the_base_target_and_say_so(serve):
    server = serve("hello:app", "--workers", "2")
    server.admin.scale(4, ttl=600)
    server.admin.wait_workers(4)
    answer = server.admin.call("POST", "/scale/ttin").json()
    assert answer["target"] == 4
    assert answer["base"] == 3
    assert "lease" in answer["message"].lower()
    server.send(signal.SIGTTIN)
    wait_until(lambda: server.admin.get("/scale").json()["base"] == 4, "the signal's step")
    assert len(server.admin.workers()) == 4


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"3", b'"x"', b"\xff", b"{}", b'{"workers": 2}',
        b'{"workers": 0, "epoch": 1, "ttlSeconds": 60}',
        b'{"workers": -1, "epoch": 1, "ttlSeconds": 60}',
        b'{"workers": 1.5, "epoch": 1, "ttlSeconds": 60}',
        b'{"workers": "2", "epoch": 1, "ttlSeconds": 60}',
        b'{"workers": 1000000, "epoch": 1, "ttlSeconds": 60}',
        b'{"workers": 2, "epoch": -1, "ttlSeconds": 60}',
        b'{"workers": 2, "epoch": 1, "ttlSeconds": 0}',
        b'{"workers": 2, "epoch": 1, "ttlSeconds": 99999999999}',
        b'{"workers": 2, "epoch": 1, "ttlSeconds": 60, "min": 5, "max": 3}',
        b'{"workers": 2, "epoch": 1, "ttlSeconds": 60, "wokers": 3}',
        b'{"workers": 18446744073709551616, "epoch": 1, "ttlSeconds": 60}',
    ],
)  # fmt: skip
def test_wrong_bodies_are_problems_and_change_nothing(serve_once, body):
    server = serve_once
    response = server.admin.call("PUT", "/scale", body=body, headers={"Content-Type": "application/json"})
    assert response.status in (400, 413, 415, 422)
    problem(response, response.status)
    assert server.admin.get("/scale").json()["target"] == 1


@pytest.fixture(scope="module")
def serve_once():
    """One server for the cases that leave it as it was."""
    from podtest.server import Server

    with Server("hello:app") as server:
        server.wait_ready()
        yield server


def test_a_body_that_is_no_json_by_its_type(serve_once):
    response = serve_once.admin.call(
        "PUT", "/scale", body=b'{"workers": 2, "epoch": 1, "ttlSeconds": 60}', headers={"Content-Type": "text/plain"}
    )
    problem(response, 415)


def test_a_huge_body_is_refused(serve_once):
    response = serve_once.admin.call(
        "PUT", "/scale", body=b'{"pad": "' + b"x" * 3_000_000 + b'"}', headers={"Content-Type": "application/json"}
    )
    problem(response, 413)


@pytest.mark.parametrize("path", ["/nothing", "/workers/x/stack", "/scale/", "/v1/scale"])
def test_unknown_paths(serve_once, path):
    problem(serve_once.admin.get(path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/livez", "GET"),
        ("DELETE", "/scale", "PUT"),
        ("GET", "/reload", "POST"),
        ("PUT", "/scale/ttin", "POST"),
    ],
)
def test_wrong_methods(serve_once, method, path, allow):
    response = serve_once.admin.call(method, path)
    problem(response, 405)
    assert allow in response.header("Allow")


# ---- who may do what ----


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("first-token\n")
    return path


def test_a_token_guards_what_changes_or_reveals(serve, token_file):
    server = serve("hello:app", "--admin-token-file", str(token_file), token="first-token")
    stranger = Admin(server.admin.address)
    for path in OPEN:
        assert stranger.status(path) == 200
    for method, path in GUARDED:
        response = stranger.call(method, path)
        problem(response, 401)
        assert response.header("WWW-Authenticate").startswith("Bearer")
    for wrong in ("", "first-toke", "first-token1", "FIRST-TOKEN", "x" * 5000):
        assert Admin(server.admin.address, wrong).status("/workers") == 401
    for header in ("Basic first-token", "first-token", "Bearer", "Bearer first-token extra"):
        assert stranger.call("GET", "/workers", headers={"Authorization": header}).status == 401
    assert server.admin.status("/workers") == 200
    assert len(server.admin.workers()) == 1


def test_the_token_rotates_with_its_file(serve, token_file):
    """A Secret's volume replaces the file by renaming."""
    server = serve("hello:app", "--admin-token-file", str(token_file), token="first-token")
    assert server.admin.status("/workers") == 200
    new = token_file.with_suffix(".new")
    new.write_text("second-token")
    new.rename(token_file)
    second = Admin(server.admin.address, "second-token")
    wait_until(lambda: second.status("/workers") == 200, "the new token")
    wait_until(lambda: server.admin.status("/workers") == 401, "the old token's end")


def test_the_token_rotates_when_a_secrets_volume_is_swapped(serve, tmp_path):
    """The kubelet's way: `token` points through `..data` to a directory, and `..data` is replaced as a whole."""

    def publish(version: str, token: str) -> None:
        directory = tmp_path / f"..{version}"
        directory.mkdir()
        (directory / "token").write_text(token)
        (tmp_path / "..data_tmp").symlink_to(directory.name)
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")

    publish("one", "first-token")
    (tmp_path / "token").symlink_to("..data/token")
    server = serve("hello:app", "--admin-token-file", str(tmp_path / "token"), token="first-token")
    assert server.admin.status("/workers") == 200
    publish("two", "other-token")
    second = Admin(server.admin.address, "other-token")
    wait_until(lambda: second.status("/workers") == 200, "the new token")
    wait_until(lambda: server.admin.status("/workers") == 401, "the old token's end")


def test_a_token_file_that_vanishes_keeps_the_last_token(serve, token_file):
    server = serve("hello:app", "--admin-token-file", str(token_file), token="first-token")
    token_file.unlink()
    settle(2)
    assert server.admin.status("/workers") == 200
    assert Admin(server.admin.address).status("/workers") == 401
    token_file.write_text("")
    settle(2)
    assert Admin(server.admin.address, "").status("/workers") == 401


def test_off_loopback_without_a_token_only_health_is_served(serve):
    port = free_port()
    server = serve("hello:app", "--admin-bind", f"0.0.0.0:{port}", ready=False)
    server.admin.address = ("127.0.0.1", port)
    server.wait_ready()
    for path in OPEN:
        assert server.admin.status(path) == 200
    for method, path in [*GUARDED, ("GET", "/")]:
        problem(server.admin.call(method, path), 403)
    server.err.wait_for("admin-token-file")


def test_a_page_of_another_origin_cannot_reach_the_open_loopback_port(serve_once):
    """DNS rebinding: the browser connects to 127.0.0.1 under the attacker's name."""
    for host in ("evil.example", "evil.example:9099", "127.0.0.1.evil.example", "localhost.evil.example", ""):
        response = serve_once.admin.call("GET", "/workers", headers={"Host": host})
        assert response.status in (400, 403, 421), host
    for host in ("localhost", "127.0.0.1:1234", "[::1]"):
        assert serve_once.admin.call("GET", "/workers", headers={"Host": host}).status == 200
    forged = serve_once.admin.call("POST", "/reload", headers={"Origin": "http://evil.example"})
    assert forged.status == 403
    for path in OPEN:
        assert serve_once.admin.call("GET", path, headers={"Host": "10.1.2.3:9099"}).status == 200


def test_a_unix_socket_needs_no_token(serve, tmp_path, token_file):
    path = str(tmp_path / "admin.sock")
    server = serve(
        "hello:app", "--admin-bind", f"unix:{path}", "--admin-token-file", str(token_file), ready=False
    )  # fmt: skip
    server.admin.address = path
    server.wait_ready()
    assert server.admin.status("/workers") == 200
    import os
    import stat

    assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0
    assert server.stop() == 0
    assert not os.path.exists(path)


def test_ipv6_and_off(serve):
    port = free_port()
    server = serve("hello:app", "--admin-bind", f"[::1]:{port}", ready=False)
    server.admin.address = ("::1", port)
    wait_until(lambda: server.admin.call("GET", "/readyz", headers={"Host": "localhost"}).status == 200
               if reachable(server.admin.address) else False, "readiness")  # fmt: skip
    off = serve("hello:app", "--admin-bind", "off", ready=False)
    off.err.wait_for("Booting worker")
    assert not reachable(("127.0.0.1", off.admin_port))


def reachable(address) -> bool:
    try:
        http.Connection(address).close()
    except OSError:
        return False
    return True


def test_the_token_is_nowhere_in_the_answers_or_logs(serve, token_file):
    token_file.write_text("s3cret-and-long-token\n")
    server = serve(
        "probe:app", "--admin-token-file", str(token_file), "--log-level", "debug", token="s3cret-and-long-token"
    )  # fmt: skip
    for path in ("/config", "/workers", "/metrics", "/openapi.json", "/scale"):
        assert "s3cret" not in server.admin.get(path).text
    server.stop()
    assert "s3cret" not in server.err.text


def test_the_admin_api_refuses_orders_while_it_ends(serve, gate):
    server = serve("probe:app", environment=gate.environment)
    with server.connect() as client:
        client.send(http.head("GET", "/hold/end"))
        gate.wait(1, "end")
        server.send(signal.SIGTERM)
        wait_until(lambda: server.admin.status("/readyz") == 503, "readyz 503")
        problem(server.admin.call("POST", "/reload"), 503)
        problem(server.admin.call("PUT", "/scale", {"workers": 2, "epoch": 1, "ttlSeconds": 60}), 503)
        gate.open()
        client.read_response()
