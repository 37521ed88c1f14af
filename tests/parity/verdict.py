"""What a server makes of a connection's bytes, seen from outside."""

import errno
import socket
from dataclasses import dataclass

from podtest import http

Seen = dict[str, object]


@dataclass(frozen=True)
class Answer:
    """One response: its status, and of a 200 what the app saw."""

    status: int
    seen: Seen | None = None


@dataclass(frozen=True)
class Verdict:
    """All that came back on one connection."""

    answers: tuple[Answer, ...]
    end: http.End

    def __str__(self) -> str:
        return ", ".join(str(answer.status) for answer in self.answers) or "closed without an answer"


def contrast(gunicorn: Verdict, podicorn: Verdict) -> tuple[str, str] | None:
    """In what the two differ, one text for each; None if they agree."""
    if str(gunicorn) != str(podicorn):
        return str(gunicorn), str(podicorn)
    texts = [
        (f"{name} {one.seen[name]!r}", f"{name} {other.seen[name]!r}")
        for one, other in zip(gunicorn.answers, podicorn.answers, strict=True)
        if one.seen and other.seen
        for name in one.seen
        if one.seen[name] != other.seen[name]
    ]
    return (", ".join(one for one, _ in texts), ", ".join(other for _, other in texts)) if texts else None


def ask(address: http.Address, data: bytes, piece: int = 0) -> Verdict:
    """Sends the bytes, at once or in pieces, says that no more will come, and reads to the end."""
    answers = []
    with http.Connection(address) as connection:
        try:
            for start in range(0, len(data), piece or len(data)):
                connection.send(data[start : start + (piece or len(data))])
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            # It was refused, or closed as it had asked itself, before its end; the answer is there to be read. The
            # first byte after a server's close leads to EPIPE, or to ENOTCONN of the shutdown where it was the last.
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                raise
        while not connection.ended():
            response = connection.read_response()
            answers.append(Answer(response.status, response.json() if response.status == 200 else None))
        return Verdict(tuple(answers), connection.end)
