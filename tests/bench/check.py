"""Every server must give the same right answer before its speed counts."""

from podtest.http import Connection, End, ExchangeError, Response, head

from bench import websocket
from bench.running import Failed, Running
from bench.scenarios import Scenario


def request(scenario: Scenario) -> bytes:
    """The scenario's request, as wrk sends it."""
    headers = {"Host": "127.0.0.1"}
    if not scenario.keep_alive:
        headers["Connection"] = "close"
    if scenario.websocket:
        return head("GET", scenario.path, headers)
    if scenario.body_size:
        headers["Content-Length"] = str(scenario.body_size)
    return head(scenario.method, scenario.path, headers) + scenario.body


def complaint(scenario: Scenario, response: Response) -> str | None:
    """What is wrong with an answer; None if it is right."""
    if response.status != 200:
        return f"status {response.status}"
    if response.body != scenario.expected:
        return f"a body of {len(response.body)} bytes: {response.body[:80]!r}"
    if response.header("Content-Type") != scenario.content_type:
        return f"Content-Type {response.header('Content-Type')}"
    if response.header("Content-Length") != str(len(scenario.expected)):
        return f"Content-Length {response.header('Content-Length')}"
    return None


def check(server: Running, scenario: Scenario) -> None:
    """Two requests: on one connection where it is kept, on two where it is closed. Or two messages."""
    try:
        if scenario.websocket:
            wrong = _echoed(server, scenario)
        else:
            wrong = _kept(server, scenario) if scenario.keep_alive else _closed(server, scenario)
    except (OSError, ExchangeError) as error:
        wrong = str(error)
    if wrong:
        raise Failed(f"{server.name} answers wrongly in {scenario.name}: {wrong}\n{server.said()}")


def _kept(server: Running, scenario: Scenario) -> str | None:
    with Connection(("127.0.0.1", server.port), silence=10) as connection:
        for _ in range(2):
            connection.send(request(scenario))
            wrong = complaint(scenario, connection.read_response(scenario.method))
            if wrong:
                return wrong
    return None


def _closed(server: Running, scenario: Scenario) -> str | None:
    for _ in range(2):
        with Connection(("127.0.0.1", server.port), silence=10) as connection:
            connection.send(request(scenario))
            wrong = complaint(scenario, connection.read_response(scenario.method))
            if wrong:
                return wrong
            if connection.finish() is not End.FIN:
                return "the connection was not ended by FIN"
    return None


def _echoed(server: Running, scenario: Scenario) -> str | None:
    message = websocket.payload(scenario.body_size)
    with websocket.connect(server.port) as connection:
        for _ in range(2):
            came = websocket.exchange(connection, message)
            if came != websocket.plain(message):
                return f"the message came back as {came[:80]!r}"
    return None
