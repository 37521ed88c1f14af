"""The HTTP clients that services really use, on every worker type: tests/clients/README.md says which."""

import hashlib
import json
from dataclasses import dataclass

import pytest
from podtest.clients import Client, Exchange, Seen, body, build_go_client, clients
from podtest.types import every_type, keeping_types
from podtest.waiting import wait_until

MIB = 1 << 20
NAMES = ("go", "node", "fetch", "python")


@pytest.fixture(scope="session")
def go_client(tmp_path_factory):
    return build_go_client(tmp_path_factory.mktemp("go"))


@pytest.fixture(params=NAMES)
def client(request, go_client) -> Client:
    return clients(go_client)[request.param]


def only(*names: str):
    """For what the other clients cannot do."""
    return pytest.mark.parametrize("client", names, indirect=True)


@dataclass(frozen=True)
class Served:
    """A server and a client for it."""

    server: object
    client: Client
    keeps: bool

    def run(self, *exchanges: Exchange, parallel: int = 1) -> list[Seen]:
        return self.client.run(f"http://127.0.0.1:{self.server.port}", exchanges, parallel)


@pytest.fixture
def served(serve, client, kind):
    def start(*arguments: str) -> Served:
        return Served(serve("probe:app", *kind, *arguments), client, keeps=bool(kind))

    return start


def is_whole(seen: Seen, content: bytes, status: int = 200) -> None:
    assert (seen.error, seen.status) == (None, status)
    assert seen.version in ("1.1", None)
    assert (seen.length, seen.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert seen.attempts in (1, None), "the client had to try again"


def connections(seen: list[Seen]) -> int:
    """How many connections the server saw, by the clients' ports; each exchange got /environ."""
    return len({json.loads(one.text)["values"]["REMOTE_PORT"] for one in seen})


# ---- one after the other ----


@every_type
def test_many_requests(served, client, kind):
    """Kept connections are used again, and closed ones are not."""
    at = served()
    seen = at.run(*[Exchange("GET", f"/bytes/{number * 37}") for number in range(200)])
    for number, one in enumerate(seen):
        is_whole(one, b"x" * number * 37)
        assert one.header("Connection") == ("keep-alive" if at.keeps else "close")
    if at.client.tells_reuse:
        assert [one.reused for one in seen] == [at.keeps and number > 0 for number in range(200)]
    used = connections(at.run(*[Exchange("GET", "/environ")] * 20))
    assert used <= client.connections if at.keeps else used == 20


@every_type
def test_responses_without_a_body(served, kind):
    """What follows them on a connection is understood."""
    at = served()
    page = Exchange("GET", "/")
    bodiless = {
        Exchange("HEAD", "/bytes/1000"): 200,
        Exchange("HEAD", "/stream"): 200,
        Exchange("HEAD", "/file"): 200,
        Exchange("GET", "/no-body/204"): 204,
        Exchange("GET", "/no-body/304"): 304,
        Exchange("GET", "/empty/none"): 200,
        Exchange("POST", "/echo", size=0): 200,
    }
    seen = at.run(*[one for exchange in bodiless for one in (exchange, page)])
    for one, status in zip(seen[::2], bodiless.values(), strict=True):
        is_whole(one, b"", status)
    for one in seen[1::2]:
        is_whole(one, b"probe\n")
    assert seen[0].header("Content-Length") == "1000"


@every_type
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_uploads(served, kind, chunked):
    """Of what is read beside the app, and of what is read by it."""
    at = served()
    sizes = [0, 1, 1000, 65_536, MIB, MIB + 1, 8 * MIB]
    seen = at.run(*[Exchange("POST", "/digest", size=size, chunked=chunked) for size in sizes])
    for one, size in zip(seen, sizes, strict=True):
        assert (one.error, one.status, one.attempts or 1) == (None, 200, 1)
        told = json.loads(one.text)
        assert (told["length"], told["sha256"]) == (size, hashlib.sha256(body(size)).hexdigest())
    if at.keeps and at.client.tells_reuse:
        assert [one.reused for one in seen] == [False] + [True] * (len(sizes) - 1)


@every_type
def test_bodies_both_ways(served, kind):
    at = served()
    for one in at.run(
        *[Exchange("POST", "/echo", size=2 * MIB), Exchange("POST", "/echo", size=2 * MIB, chunked=True)],
        *[Exchange("PUT", "/echo", size=2 * MIB), Exchange("PATCH", "/echo", size=2 * MIB, chunked=True)],
    ):
        is_whole(one, body(2 * MIB))


@every_type
def test_downloads(served, kind):
    at = served()
    length, chunked, written, file = at.run(
        Exchange("GET", f"/bytes/{32 * MIB}"),
        Exchange("GET", "/stream?n=512&size=65536"),
        Exchange("GET", "/write"),
        Exchange("GET", "/file"),
    )
    is_whole(length, b"x" * 32 * MIB)
    assert length.header("Content-Length") == str(32 * MIB)
    is_whole(chunked, b"".join(bytes([ord("a") + number % 26]) * 65536 for number in range(512)))
    assert chunked.header("Content-Length") is None
    is_whole(written, b"written first, then returned\n")
    assert (file.error, file.status) == (None, 200)
    assert file.length == int(file.header("Content-Length"))


# ---- at the same time ----


@every_type
def test_users_in_parallel(served, kind):
    at = served()
    exchanges, wanted = [], []
    for number in range(60):
        exchanges += [
            Exchange("GET", f"/bytes/{number * 1000}"),
            Exchange("POST", "/echo", size=number * 100),
            Exchange("POST", "/echo", size=number * 100, chunked=True),
            Exchange("GET", f"/stream?n=3&size={number + 1}"),
            Exchange("GET", "/no-body/204"),
            Exchange("HEAD", f"/bytes/{number}"),
        ]
        sent = body(number * 100)
        streamed = b"".join(letter * (number + 1) for letter in (b"a", b"b", b"c"))
        wanted += [b"x" * number * 1000, sent, sent, streamed, b"", b""]
    for one, exchange, content in zip(at.run(*exchanges, parallel=8), exchanges, wanted, strict=True):
        is_whole(one, content, 204 if "204" in exchange.target else 200)


# ---- interim responses ----


@every_type
@only("go", "node")
def test_continue(served, kind):
    """The body follows 100 and does not come before it; where the answer is there first, it does not come at all."""
    at = served("--body-buffer", "1k", "--limit-request-body", "3m")
    wants = {"Expect": "100-continue"}
    small, large, chunked, unread, too_large, page = at.run(
        Exchange("POST", "/echo", wants, size=10),
        Exchange("POST", "/echo", wants, size=2 * MIB),
        Exchange("POST", "/echo", wants, size=2 * MIB, chunked=True),
        Exchange("POST", "/unread", wants, size=2 * MIB),
        Exchange("POST", "/echo", wants, size=4 * MIB),
        Exchange("GET", "/"),
    )
    for one, size in ((small, 10), (large, 2 * MIB), (chunked, 2 * MIB)):
        is_whole(one, body(size))
        assert (one.continued, one.early) == (True, 0)
    is_whole(unread, b"unread\n")
    assert (unread.continued, unread.early) == (False, 0)
    assert (too_large.status, too_large.continued, too_large.early) == (413, False, 0)
    is_whole(page, b"probe\n")


@every_type
@only("go", "node", "fetch")  # http.client takes a 103 for the final response
def test_early_hints(served, kind):
    at = served()
    for one in at.run(Exchange("GET", "/early-hints"), Exchange("GET", "/early-hints")):
        is_whole(one, b"hinted\n")
        assert one.header("X-Final") == "yes"
        assert one.header("Link") is None
        if one.interim is not None:
            (first, style), (second, script) = one.interim
            assert (first, style["link"]) == (103, "</style.css>; rel=preload; as=style")
            assert (second, script["link"], script["x-hint"]) == (103, "</script.js>; rel=preload; as=script", "second")


# ---- ends ----


@every_type
def test_a_response_that_breaks_off_is_an_error(served, kind):
    """Never a short body that looks whole. A client comes back on another connection."""
    at = served()
    short, _, raised, _, died, page = at.run(
        *[
            Exchange("GET", "/length/1000/10"),
            Exchange("GET", "/"),
            Exchange("GET", "/raise-late"),
            Exchange("GET", "/"),
        ],
        *[Exchange("POST", "/die/9", size=0), Exchange("GET", "/")],
    )
    assert short.error
    assert raised.error or (at.client.trusts_cut_chunks and not at.keeps)
    assert died.error
    assert died.status in (0, None)
    is_whole(page, b"probe\n")
    if at.client.tells_reuse:
        assert page.reused is False


@keeping_types
@only("go", "node", "fetch")  # http.client does not look at a connection before it sends
def test_an_idle_connection_that_was_closed_is_not_used_again(served, tmp_path, kind):
    at = served("--keep-alive", "1")
    closed = tmp_path / "closed"
    exchanges = [Exchange("GET", "/environ"), Exchange("POST", "/digest", size=10, after=str(closed))]
    exchanges.append(Exchange("GET", "/environ"))
    with at.client.start(f"http://127.0.0.1:{at.server.port}", exchanges) as running:
        wait_until(lambda: at.server.admin.workers()[0]["requests"] == 1, "the first request")
        wait_until(lambda: at.server.admin.workers()[0]["connections"] == 0, "the end of the idle connection")
        closed.touch()
        before, posted, behind = running.wait()
    assert [(one.error, one.status) for one in (before, posted, behind)] == [(None, 200)] * 3
    assert connections([before, behind]) == 2
    if at.client.tells_reuse:
        assert [one.reused for one in (before, posted, behind)] == [False, False, True]


@keeping_types
@only("go", "node", "python")  # fetch may not set Connection
def test_a_client_can_ask_for_the_end(served, kind):
    at = served()
    last, other = at.run(Exchange("GET", "/environ", {"Connection": "close"}), Exchange("GET", "/environ"))
    assert last.header("Connection") == "close"
    assert connections([last, other]) == 2


@keeping_types
def test_a_body_that_the_app_leaves_is_no_error(served, kind):
    """The connection ends with its response; the client notices and takes another."""
    at = served("--body-buffer", "1k")
    for chunked in (False, True):
        before, left, behind = at.run(
            Exchange("GET", "/"), Exchange("POST", "/unread", size=100_000, chunked=chunked), Exchange("GET", "/")
        )
        is_whole(before, b"probe\n")
        is_whole(left, b"unread\n")
        assert left.header("Connection") == "close"
        is_whole(behind, b"probe\n")
        if at.client.tells_reuse:
            assert [one.reused for one in (before, left, behind)] == [False, True, False]
