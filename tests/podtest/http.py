"""HTTP/1 over raw sockets, for tests that must see how a connection ends.

The reader accepts what RFC 9112 §6 lets a client accept and nothing else; it is small on purpose, so that a test's
verdict never depends on a client library's repairs.
"""

import json as json_module
import socket
import ssl
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Address = tuple[str, int] | str

#: Seconds without any byte after which a read gives up.
SILENCE = 60.0


class End(Enum):
    """How the server's side of the connection stands after an exchange."""

    FIN = "fin"
    #: TLS without close_notify: the client cannot tell it from an attacker's FIN.
    RAGGED = "ragged"
    RESET = "reset"
    OPEN = "open"


class ExchangeError(Exception):
    """No whole response came."""

    def __init__(self, what: str, end: End, got: bytes) -> None:
        super().__init__(f"{what} ({end.value}; {len(got)} bytes: {got[:200]!r})")
        self.end = end
        self.got = got


@dataclass
class Response:
    """One response. ``headers`` keeps order, case and repetitions."""

    version: str
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    end: End
    raw_head: bytes = b""
    interim: list["Response"] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The one value of a header, or None; several are an error."""
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    def json(self) -> Any:
        """The body as JSON."""
        return json_module.loads(self.body)


class Connection:
    """One client connection."""

    def __init__(
        self,
        address: Address,
        silence: float = SILENCE,
        *,
        context: ssl.SSLContext | None = None,
        name: str = "localhost",
    ) -> None:
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(silence)
            self.socket.connect(address)
        else:
            self.socket = socket.create_connection(address, timeout=silence)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname=name, suppress_ragged_eofs=False)
        self.buffer = b""
        self.end = End.OPEN

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close our side."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send everything; raises what the socket raises."""
        self.socket.sendall(data)

    def _more(self) -> bool:
        """One read; False at the end of the stream."""
        if self.end is not End.OPEN:
            return False
        try:
            piece = self.socket.recv(65536)
        except ConnectionResetError:
            self.end = End.RESET
            return False
        except ssl.SSLEOFError:
            self.end = End.RAGGED
            return False
        if not piece:
            self.end = End.FIN
            return False
        self.buffer += piece
        return True

    def ended(self) -> bool:
        """Whether nothing more comes; waits until a byte or the end is there."""
        return not self.buffer and not self._more()

    def read_to_end(self) -> bytes:
        """All bytes until the server ends the stream; ``end`` then says how."""
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def _until(self, mark: bytes, what: str) -> bytes:
        while mark not in self.buffer:
            if not self._more():
                raise ExchangeError(f"the stream ended in {what}", self.end, self.buffer)
        head, _, self.buffer = self.buffer.partition(mark)
        return head + mark

    def _exactly(self, count: int, what: str) -> bytes:
        while len(self.buffer) < count:
            if not self._more():
                raise ExchangeError(f"the stream ended in {what}, {count} bytes wanted", self.end, self.buffer)
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_head(self) -> Response:
        """The next head, interim ones too, without its body."""
        raw = self._until(b"\r\n\r\n", "the head")
        lines = raw[:-4].decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        status, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not (len(status) == 3 and status.isdigit()):
            raise ExchangeError("that is no status line", self.end, raw)
        headers = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip() or not name:
                raise ExchangeError(f"that is no header line: {line!r}", self.end, raw)
            headers.append((name, value.strip(" \t")))
        return Response(version, int(status), reason, headers, b"", self.end, raw)

    def read_response(self, method: str = "GET") -> Response:
        """The next final response with its whole body; ExchangeError where it is cut short."""
        interim = []
        response = self.read_head()
        while response.status < 200 and response.status != 101:
            interim.append(response)
            response = self.read_head()
        response.interim = interim
        response.body = self._read_body(method, response)
        response.end = self.end
        return response

    def _read_body(self, method: str, response: Response) -> bytes:
        if method == "HEAD" or response.status in (204, 304):
            return b""
        coding = response.header("Transfer-Encoding")
        length = response.header("Content-Length")
        if coding is not None:
            if length is not None or coding.lower() != "chunked":
                raise ExchangeError("framing that a client may not trust", self.end, response.raw_head)
            return self._read_chunks()
        if length is not None:
            return self._exactly(int(length), "the body")
        body = self.read_to_end()
        if self.end is not End.FIN:
            raise ExchangeError("a body that ends with the connection was cut", self.end, body)
        return body

    def _read_chunks(self) -> bytes:
        body = b""
        while True:
            size = int(self._until(b"\r\n", "a chunk's size").split(b";")[0], 16)
            if size == 0:
                while self._until(b"\r\n", "the trailers") != b"\r\n":
                    pass
                return body
            body += self._exactly(size, "a chunk")
            if self._exactly(2, "a chunk's end") != b"\r\n":
                raise ExchangeError("a chunk runs over its size", self.end, body)

    def finish(self) -> End:
        """Read until the server ends the stream; more bytes are an error."""
        rest = self.read_to_end()
        if rest:
            raise ExchangeError("bytes after the response", self.end, rest)
        return self.end


def head(
    method: str, target: str, headers: list[tuple[str, str]] | dict[str, str] | None = None, version: str = "1.1"
) -> bytes:
    """A request head. A Host is added where none is given."""
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    if not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("Host", "testserver"))
    lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in pairs), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def request(
    address: Address,
    target: str = "/",
    method: str = "GET",
    headers: list[tuple[str, str]] | dict[str, str] | None = None,
    body: bytes | None = None,
    silence: float = SILENCE,
    version: str = "1.1",
    context: ssl.SSLContext | None = None,
) -> Response:
    """One request on a connection of its own, read to its end; ``Response.end`` says how the server ended it."""
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers or [])
    if not any(name.lower() == "connection" for name, _ in pairs):
        pairs.append(("Connection", "close"))
    if body is not None and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in pairs):
        pairs.append(("Content-Length", str(len(body))))
    with Connection(address, silence, context=context) as connection:
        connection.send(head(method, target, pairs, version) + (body or b""))
        response = connection.read_response(method)
        response.end = connection.finish()
        return response


def unserved(connection: Connection) -> bool:
    """Whether the connection ends without any answer: its worker was told to leave at once, or was killed."""
    return connection.read_to_end() == b""
