"""Files and sockets: what an app can do with the connection beyond giving bytes."""

import gzip
import io
import os
import time
from urllib.parse import parse_qs

import gate_client
from probe import answer


def application(*arguments):
    """The same for both worlds, as ``probe.app``."""
    if len(arguments) == 3:
        import probe_asgi

        return probe_asgi.app(*arguments)
    environ, start_response = arguments
    query = {key: values[-1] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    return globals()["do_" + environ["PATH_INFO"].strip("/").replace("-", "_")](environ, start_response, query)


def do_pid(environ, start_response, query):
    return answer(start_response, str(os.getpid()))


def do_file(environ, start_response, query):
    """``?path=``, optionally from ``at`` on, with ``said`` as its Content-Length, opened in the ``how`` way."""
    how = query.get("how", "buffered")
    if how == "gzip":
        file = gzip.open(query["path"])
    elif how == "bytesio":
        with open(query["path"], "rb") as source:
            file = io.BytesIO(source.read())
    elif how == "raw":
        file = open(query["path"], "rb", buffering=0)
    elif how == "unflushed":
        file = open(query["path"], "r+b")
        file.seek(0, os.SEEK_END)
        file.write(b"unflushed")
        file.seek(0)
    else:
        file = open(query["path"], "rb")
    if "at" in query:
        file.read(int(query["at"]))
    headers = [("Content-Type", "application/octet-stream")]
    if "said" in query:
        headers.append(("Content-Length", query["said"]))
    start_response("200 OK", headers)
    return environ["wsgi.file_wrapper"](file)


def do_truncated(environ, start_response, query):
    """A file that loses its second half when its length is known."""
    path = query["path"]
    size = os.path.getsize(path)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(size))])
    file = open(path, "rb")
    os.truncate(path, size // 2)
    return environ["wsgi.file_wrapper"](file)


def do_look(environ, start_response, query):
    """Looks at whether gunicorn.socket is there, and no further."""
    return answer(start_response, str("gunicorn.socket" in environ))


def do_take(environ, start_response, query):
    """Speaks a protocol of its own on gunicorn.socket: echoes lines until ``bye``."""
    socket = environ["gunicorn.socket"]
    socket.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    lines = socket.makefile("rb")
    for line in lines:
        socket.sendall(b"echo " + line)
        if line == b"bye\n":
            break
    if query.get("end") == "stop":
        raise StopIteration
    return []


def do_fork(environ, start_response, query):
    """Forks a child that lives on, with a copy of every descriptor, and answers."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    return answer(start_response, str(child))


def do_forked_return(environ, start_response, query):
    """A child that comes back from the call, as a confused app would let it."""
    os.fork()
    return answer(start_response, str(os.getpid()))


def do_pieces(environ, start_response, query):
    """``n`` pieces of ``size`` bytes from a generator; the gate in between if ``hold`` is given."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    for number in range(int(query["n"])):
        if "hold" in query and number == 1:
            gate_client.pause(query["hold"])
        yield b"p" * int(query["size"])


class Lingering(bytes):
    """A piece of a body that waits at the gate when it is freed."""

    def __del__(self):
        gate_client.pause("freed")


def do_lingering(environ, start_response, query):
    """A body that is complete at once, but is not freed before the gate opens."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [Lingering(b"lingering")]


class Held:
    """A body of ``size`` bytes whose ``close()`` waits at the gate."""

    def __init__(self, size):
        self.size = size

    def __iter__(self):
        yield b"h" * self.size

    def close(self):
        gate_client.pause("close")


def do_held(environ, start_response, query):
    """``size`` bytes, with a Content-Length if ``said`` is given, and an end that waits at the gate."""
    headers = [("Content-Type", "application/octet-stream")]
    if "said" in query:
        headers.append(("Content-Length", query["size"]))
    start_response("200 OK", headers)
    return Held(int(query["size"]))
