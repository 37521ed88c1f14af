"""A client of HTTP/2 for tests that must see its frames: ``h2``'s state machine on a connection of `podtest.http`."""

import ssl
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from podtest import http


@dataclass
class Answer:
    """What a stream has brought."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[list[tuple[str, str]]] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    #: The error code of a RST_STREAM.
    reset: int | None = None

    @property
    def status(self) -> int:
        """The final status."""
        return int(dict(self.headers)[":status"])


class Machine(h2.connection.H2Connection):
    """Goes on after a GOAWAY, as clients must for the streams that they have (RFC 9113 §6.8)."""

    goaway: int | None = None

    def _receive_goaway_frame(self, frame: Any) -> tuple[list[Any], list[h2.events.Event]]:
        self.goaway = int(frame.error_code)
        return [], []


class Client:
    """One connection."""

    def __init__(
        self,
        address: http.Address,
        context: ssl.SSLContext | None = None,
        *,
        window: bool = True,
        prelude: bytes = b"",
    ) -> None:
        """``window=False``: the server is not let send more than it may at first. ``prelude`` goes first."""
        if context is not None:
            context.set_alpn_protocols(["h2"])
        self.wire = http.Connection(address, context=context)
        self.scheme = "https" if context is not None else "http"
        self.machine = Machine(h2.config.H2Configuration(header_encoding="utf-8"))
        self.machine.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.over = False
        self._window = window
        self.wire.send(prelude)
        self.flush()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()

    @property
    def goaway(self) -> int | None:
        """The error code of the last GOAWAY, once there is one."""
        return self.machine.goaway

    def flush(self) -> None:
        """Sends what waits."""
        self.wire.send(self.machine.data_to_send())

    def ask(
        self,
        path: str,
        method: str = "GET",
        headers: list[tuple[str, str]] | None = None,
        body: bytes | None = None,
        *,
        end: bool = True,
    ) -> int:
        """Begins a stream; its number. A body goes out as far as the window allows; ``end=False`` leaves it open."""
        stream = self.machine.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", self.scheme), (":authority", "localhost"), (":path", path)]
        self.answers[stream] = Answer()
        self.machine.send_headers(stream, fields + (headers or []), end_stream=end and body is None)
        if body is not None:
            self.send(stream, body, end=end)
        self.flush()
        return stream

    def send(self, stream: int, body: bytes, *, end: bool = True) -> None:
        """A body, whose client waits for the windows to open."""
        at = 0
        while at < len(body):
            room = min(self.machine.local_flow_control_window(stream), self.machine.max_outbound_frame_size)
            if room == 0:
                self.flush()
                self.step()
                continue
            piece = body[at : at + room]
            at += len(piece)
            self.machine.send_data(stream, piece, end_stream=end and at == len(body))
        if not body and end:
            self.machine.end_stream(stream)
        self.flush()

    def reset(self, stream: int, code: int = 8) -> None:
        """Takes a stream back (CANCEL)."""
        self.machine.reset_stream(stream, code)

    def step(self) -> bool:
        """Takes in what comes next; False at the end of the connection."""
        try:
            data = self.wire.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            data = b""
        if not data:
            self.over = True
            return False
        for event in self.machine.receive_data(data):
            self._take(event)
        self.flush()
        return True

    def _take(self, event: h2.events.Event) -> None:
        answer = self.answers.get(getattr(event, "stream_id", None) or 0, Answer())
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers = event.headers
        elif isinstance(event, h2.events.InformationalResponseReceived):
            answer.interim.append(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = event.headers
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if self._window:
                self.machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = int(event.error_code)

    def answer(self, stream: int) -> Answer:
        """The whole answer; a reset or the end of the connection is an error."""
        answer = self.answers[stream]
        while not answer.ended:
            if answer.reset is not None:
                raise http.ExchangeError(f"stream {stream} was reset by {answer.reset}", http.End.OPEN, answer.body)
            if not self.step():
                raise http.ExchangeError("the connection ended in a stream", http.End.FIN, answer.body)
        return answer

    def get(self, path: str, headers: list[tuple[str, str]] | None = None) -> Answer:
        """One request."""
        return self.answer(self.ask(path, headers=headers))

    def drain(self) -> None:
        """Reads to the end of the connection."""
        while self.step():
            pass
