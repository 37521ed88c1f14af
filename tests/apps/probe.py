"""One path per thing that a test wants to see or to hold."""

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qs

import gate_client

#: Paths, by their first segment.
ROUTES = {}


def route(name):
    """Registers a handler ``(environ, start_response, rest_of_path, query) -> iterable``."""

    def register(handler):
        ROUTES[name] = handler
        return handler

    return register


def answer(start_response, body, status="200 OK", kind="text/plain", headers=()):
    body = body.encode() if isinstance(body, str) else body
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *headers])
    return [body]


def as_json(start_response, value):
    return answer(start_response, json.dumps(value), kind="application/json")


def application(environ, start_response):
    first, _, rest = environ["PATH_INFO"].lstrip("/").partition("/")
    handler = ROUTES.get(first)
    if handler is None:
        return answer(start_response, "no such path\n", "404 Not Found")
    query = {key: values[-1] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    return handler(environ, start_response, rest, query)


def app(*arguments):
    """The same for both worlds: as an ASGI app it is that of ``probe_asgi``, whose routes have the same names."""
    if len(arguments) == 3:
        import probe_asgi

        return probe_asgi.app(*arguments)
    return application(*arguments)


@route("")
def root(environ, start_response, rest, query):
    return answer(start_response, "probe\n")


@route("pid")
def pid(environ, start_response, rest, query):
    return answer(start_response, str(os.getpid()))


@route("identity")
def identity(environ, start_response, rest, query):
    """Who and where the worker is."""
    mask = os.umask(0)
    os.umask(mask)
    return as_json(
        start_response,
        {
            "pid": os.getpid(),
            "ppid": os.getppid(),
            "uid": os.getuid(),
            "gid": os.getgid(),
            "groups": os.getgroups(),
            "umask": mask,
            "cwd": os.getcwd(),
            "path": sys.path,
            "executable": sys.executable,
            "prefix": sys.prefix,
            "threads": [thread.name for thread in threading.enumerate()],
            "environment": dict(os.environ),
        },
    )


@route("environ")
def environ_dump(environ, start_response, rest, query):
    """The WSGI environ: strings as they are, everything else by its repr, and each value's type."""
    return as_json(
        start_response,
        {
            "values": {k: v if isinstance(v, str) else repr(v) for k, v in environ.items()},
            "types": {k: type(v).__name__ for k, v in environ.items()},
            "exact_dict": type(environ) is dict,
        },
    )


@route("block")
@route("hold")
def hold(environ, start_response, rest, query):
    """Waits at the test's gate before it answers."""
    gate_client.pause(rest or "hold")
    return answer(start_response, "released\n", headers=[("X-Pid", str(os.getpid()))])


@route("echo")
def echo(environ, start_response, rest, query):
    source = environ["wsgi.input"]
    body = b"".join(iter(lambda: source.read(65536), b""))
    return answer(start_response, body, kind="application/octet-stream")


@route("digest")
def digest(environ, start_response, rest, query):
    """Reads the body in the asked way; says its length and SHA-256."""
    source = environ["wsgi.input"]
    total, length = hashlib.sha256(), 0
    how = query.get("how", "read")
    size = int(query.get("size", "65536"))
    if how == "read":
        pieces = iter(lambda: source.read(size), b"")
    elif how == "readline":
        pieces = iter(source.readline, b"")
    elif how == "readline-size":
        pieces = iter(lambda: source.readline(size), b"")
    elif how == "readlines":
        pieces = source.readlines()
    elif how == "iterate":
        pieces = source
    elif how == "one-byte":
        pieces = iter(lambda: source.read(1), b"")
    else:
        pieces = [source.read()]
    for piece in pieces:
        assert type(piece) is bytes
        total.update(piece)
        length += len(piece)
    again = source.read()
    return as_json(start_response, {"length": length, "sha256": total.hexdigest(), "after_end": len(again)})


@route("unread")
def unread(environ, start_response, rest, query):
    """Answers without a look at the body."""
    return answer(start_response, "unread\n")


@route("stream")
def stream(environ, start_response, rest, query):
    """n pieces of size bytes from a generator, without a Content-Length."""
    count, size = int(query.get("n", "3")), int(query.get("size", "5"))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (bytes([ord("a") + index % 26]) * size for index in range(count))


@route("stream-held")
def stream_held(environ, start_response, rest, query):
    """One piece, then the gate, then another."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first\n"
    gate_client.pause(rest or "stream")
    yield b"second\n"


@route("bytes")
def some_bytes(environ, start_response, rest, query):
    """A body of so many bytes with its Content-Length."""
    return answer(start_response, b"x" * int(rest), kind="application/octet-stream")


@route("sleep")
def sleep(environ, start_response, rest, query):
    time.sleep(float(rest))
    return answer(start_response, "slept\n")


@route("status")
def status(environ, start_response, rest, query):
    return answer(start_response, f"{rest}\n", f"{rest} As asked")


@route("raise")
def raise_early(environ, start_response, rest, query):
    raise RuntimeError("the app raised before the head")


@route("raise-late")
def raise_late(environ, start_response, rest, query):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"a piece\n"
    raise RuntimeError("the app raised in the body")


@route("exit")
def leave(environ, start_response, rest, query):
    """sys.exit in a request."""
    sys.exit(int(rest))


@route("halt")
def halt(environ, start_response, rest, query):
    """The process ends at once, with that exit code."""
    os._exit(int(rest))


@route("die")
def die(environ, start_response, rest, query):
    """The process ends at once, or by the signal asked for."""
    os.kill(os.getpid(), int(rest or "9"))
    time.sleep(60)


@route("write")
def write(environ, start_response, rest, query):
    """The imperative write() and an iterable after it."""
    give = start_response("200 OK", [("Content-Type", "text/plain")])
    give(b"written ")
    give(b"first, ")
    return [b"then returned\n"]


@route("errors")
def errors(environ, start_response, rest, query):
    """Writes to wsgi.errors in each way that PEP 3333 names."""
    target = environ["wsgi.errors"]
    target.write("errors: written\n")
    target.writelines(["errors: a line\n", "errors: another line\n"])
    target.flush()
    return answer(start_response, "told\n")


@route("print")
def prints(environ, start_response, rest, query):
    """Prints to stdout and stderr."""
    print(f"printed out {rest}", flush=True)
    print(f"printed err {rest}", file=sys.stderr, flush=True)
    return answer(start_response, "printed\n")


@route("exc-info")
def exc_info(environ, start_response, rest, query):
    """Replaces the head with exc_info before anything was sent."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-First", "yes")])
    try:
        raise ValueError("changed my mind")
    except ValueError:
        start_response("503 Service Unavailable", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"replaced\n"]


@route("exc-info-late")
def exc_info_late(environ, start_response, rest, query):
    """Tries to replace the head after the first piece: start_response must raise the exception again."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "100")])
    yield b"sent already "
    try:
        raise ValueError("too late to change")
    except ValueError:
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")], sys.exc_info())
    yield b"never sent"


@route("twice")
def twice(environ, start_response, rest, query):
    """Calls start_response a second time without exc_info: an error by PEP 3333."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    start_response("201 Created", [("Content-Type", "text/plain")])
    return [b"never\n"]


class Closing:
    """An iterable whose close() is reported."""

    def __init__(self, label, fail_at=None):
        self.label, self.fail_at, self.index = label, fail_at, 0

    def __iter__(self):
        return self

    def __next__(self):
        self.index += 1
        if self.index == self.fail_at:
            raise RuntimeError(f"{self.label} failed")
        if self.index > 3:
            raise StopIteration
        return b"piece\n"

    def close(self):
        print(f"closed {self.label}", flush=True)


@route("close")
def close(environ, start_response, rest, query):
    """An iterable with close(); ``?fail=N`` lets the N-th piece raise."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Closing(rest, int(query["fail"]) if "fail" in query else None)


@route("bad")
def bad(environ, start_response, rest, query):
    """Responses that break PEP 3333 or HTTP."""
    plain = [("Content-Type", "text/plain")]
    if rest == "status-without-reason":
        start_response("200", plain)
    elif rest == "status-int":
        start_response(200, plain)
    elif rest == "status-word":
        start_response("fine OK", plain)
    elif rest == "header-newline":
        start_response("200 OK", [*plain, ("X-Bad", "a\r\nX-Injected: yes")])
    elif rest == "header-name":
        start_response("200 OK", [*plain, ("X Bad", "a")])
    elif rest == "header-bytes":
        start_response("200 OK", [*plain, (b"X-Bad", b"a")])
    elif rest == "header-int":
        start_response("200 OK", [*plain, ("X-Bad", 1)])
    elif rest == "header-unicode":
        start_response("200 OK", [*plain, ("X-Bad", "\u20ac")])
    elif rest == "body-str":
        start_response("200 OK", plain)
        return ["text"]
    elif rest == "no-start":
        return [b"never started\n"]
    elif rest == "none":
        start_response("200 OK", plain)
        return None
    elif rest == "hop-by-hop":
        start_response("200 OK", [*plain, ("Connection", "keep-alive"), ("Keep-Alive", "timeout=5")])
    return [b"bad\n"]


@route("length")
def length(environ, start_response, rest, query):
    """Says one Content-Length and sends another: ``/length/SAID/SENT``."""
    said, _, sent = rest.partition("/")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", said)])
    return [b"x" * int(sent)]


@route("empty")
def empty(environ, start_response, rest, query):
    """An empty body: no items, empty items, or none before the head."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return {"none": [], "blank": [b""], "mixed": [b"", b"a", b"", b"b"]}[rest]


@route("no-body")
def no_body(environ, start_response, rest, query):
    """A status that has no body, from an app that gives one."""
    start_response(f"{rest} No body", [("Content-Type", "text/plain")])
    return [b"must not be sent"]


@route("early-hints")
def early_hints(environ, start_response, rest, query):
    """Two 103 responses, then the page."""
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload; as=style")])
    environ["wsgi.early_hints"]([("Link", "</script.js>; rel=preload; as=script"), ("X-Hint", "second")])
    return answer(start_response, "hinted\n", headers=[("X-Final", "yes")])


@route("trailers")
def trailers(environ, start_response, rest, query):
    """A body and trailers, which HTTP/2 has; ``rest`` says when, or what is wrong: that comes as the body then."""
    send = environ.get("gunicorn.http2.send_trailers")
    if send is None:
        yield from answer(start_response, "no trailers here\n")
        return
    fields = [("X-Sum", "42"), ("X-More", "7")]
    wrong = {"name": [("a b", "1")], "framing": [("Transfer-Encoding", "chunked")]}.get(rest)
    if wrong:
        try:
            send(wrong)
        except ValueError as error:
            yield from answer(start_response, str(error))
        return
    if rest in ("early", "length"):
        send(fields)
    length = {"length": "10", "too-late": "200"}.get(rest)
    start_response("200 OK", [("Content-Type", "text/plain"), *([("Content-Length", length)] if length else [])])
    yield b"summed"
    if rest == "too-late":
        try:
            send(fields)
        except RuntimeError as error:
            yield str(error).ljust(194).encode()
    if rest == "late":
        send(fields)
    yield b" up\n"


@route("lazy-start")
def lazy_start(environ, start_response, rest, query):
    """A generator that calls start_response only when it is asked for its first piece."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    yield b"lazy\n"


@route("file")
def file(environ, start_response, rest, query):
    """This source file through wsgi.file_wrapper."""
    start_response("200 OK", [("Content-Type", "text/x-python")])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"), 1000)


@route("subprocess")
def child_status(environ, start_response, rest, query):
    """What a child process of the app finds in /proc/self/status: signals must be as on a fresh start."""
    done = subprocess.run(["cat", "/proc/self/status"], capture_output=True, check=True)
    return answer(start_response, done.stdout)


@route("terminated_child")
def terminated_child(environ, start_response, rest, query):
    """The exit code of a forked child that was sent TERM while it ran.

    Earlier would prove nothing: CPython drops signals that come before the child's interpreter has started anew.
    """
    running, started = os.pipe()

    def run():
        os.write(started, b".")
        time.sleep(600)

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    os.read(running, 1)
    child.terminate()
    child.join()
    os.close(running)
    os.close(started)
    return answer(start_response, str(child.exitcode))


@route("descriptors")
def descriptors(environ, start_response, rest, query):
    """The open descriptors that a child of the app would inherit."""
    inherited = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.get_inheritable(int(name)):
                inherited[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return as_json(start_response, inherited)


@route("maps")
def maps(environ, start_response, rest, query):
    """Paths in the worker's memory map."""
    with open("/proc/self/maps") as lines:
        return answer(start_response, "".join(sorted({line.split()[-1] + "\n" for line in lines})))
