"""The probe for ASGI: one path per thing that a test wants to see or to hold. ``probe:app`` leads here, too."""

import asyncio
import contextvars
import hashlib
import json
import os
import sys
import time
from urllib.parse import parse_qs

import gate_client

#: Paths, by their first segment.
ROUTES = {}

#: What the lifespan has left for the requests.
LIFESPAN = {"startups": 0}

#: Set by requests; each must find it empty.
MARK = contextvars.ContextVar("mark", default="")


def route(name):
    """Registers a handler ``async (request) -> None``."""

    def register(handler):
        ROUTES[name] = handler
        return handler

    return register


class Request:
    """What handlers get: the three arguments of an ASGI app, and short ways to use them."""

    def __init__(self, scope, receive, send):
        self.scope, self.receive, self.send = scope, receive, send
        self.path = scope["path"].removeprefix(scope["root_path"])
        self.first, _, self.rest = self.path.lstrip("/").partition("/")
        self.query = {key: values[-1] for key, values in parse_qs(scope["query_string"].decode()).items()}

    async def start(self, status=200, headers=(), length=None, **more):
        plain = [(b"content-type", b"text/plain"), *headers]
        if length is not None:
            plain.append((b"content-length", str(length).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": plain, **more})

    async def body(self, data=b"", more=False):
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, data, status=200, headers=()):
        data = data.encode() if isinstance(data, str) else data
        await self.start(status, headers, len(data))
        await self.body(data)

    async def json(self, value):
        await self.answer(json.dumps(value))

    async def pieces(self):
        """The request's body, message by message."""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client has left")
            yield message["body"]
            if not message["more_body"]:
                return


async def lifespan(scope, receive, send):
    assert (await receive()) == {"type": "lifespan.startup"}
    LIFESPAN["startups"] += 1
    scope["state"]["made"] = ["by the lifespan"]
    await send({"type": "lifespan.startup.complete"})
    assert (await receive()) == {"type": "lifespan.shutdown"}
    print("lifespan: shutdown", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(scope, receive, send)
    request = Request(scope, receive, send)
    handler = ROUTES.get(request.first)
    if handler is None:
        return await request.answer("no such path\n", 404)
    return await handler(request)


application = app


@route("")
async def root(request):
    await request.answer("probe\n")


@route("pid")
async def pid(request):
    await request.answer(str(os.getpid()))


@route("scope")
async def scope_dump(request):
    """The scope: what JSON has no type for by its repr, and each value's type."""
    scope = request.scope
    await request.json(
        {
            "values": {k: v if isinstance(v, (str, type(None))) else repr(v) for k, v in scope.items()},
            "types": {k: type(v).__name__ for k, v in scope.items()},
            "headers": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
        }
    )


@route("state")
async def state(request):
    """What the lifespan left, and whether another request's change is seen."""
    state = request.scope["state"]
    found = dict(state)
    state["changed"] = True
    state["made"].append(request.rest)
    await request.json(found)


@route("context")
async def context(request):
    """Leaves a mark, says which one was there before."""
    before = MARK.get()
    MARK.set(f"{before}{request.rest}")
    await asyncio.sleep(0)
    await request.json({"before": before, "after": MARK.get(), "task": asyncio.current_task() is not None})


@route("loop")
async def loop(request):
    await request.answer(type(asyncio.get_running_loop()).__module__)


@route("hold")
async def hold(request):
    """Waits at the test's gate, beside others, before it answers."""
    await gate_client.wait(request.rest or "hold")
    await request.answer("released\n", headers=[(b"x-pid", str(os.getpid()).encode())])


@route("block")
async def block(request):
    """Waits at the test's gate with the whole loop."""
    gate_client.pause(request.rest or "block")
    await request.answer("released\n")


@route("echo")
async def echo(request):
    await request.answer(b"".join([piece async for piece in request.pieces()]))


@route("echo-stream")
async def echo_stream(request):
    """Each piece of the body as it comes."""
    await request.start()
    async for piece in request.pieces():
        await request.body(piece, more=True)
    await request.body()


@route("digest")
async def digest(request):
    total, length, messages = hashlib.sha256(), 0, 0
    async for piece in request.pieces():
        total.update(piece)
        length += len(piece)
        messages += 1
    await request.json({"length": length, "sha256": total.hexdigest(), "messages": messages})


@route("slow-reader")
async def slow_reader(request):
    """Takes the first part of the body, then the gate, then the rest."""
    first = await request.receive()
    await gate_client.wait(request.rest or "slow-reader")
    length = len(first["body"])
    if first["more_body"]:
        async for piece in request.pieces():
            length += len(piece)
    await request.json({"first": len(first["body"]), "length": length})


@route("unread")
async def unread(request):
    await request.answer("unread\n")


@route("stream")
async def stream(request):
    """n pieces of size bytes, without a Content-Length."""
    count, size = int(request.query.get("n", "3")), int(request.query.get("size", "5"))
    await request.start()
    for index in range(count):
        await request.body(bytes([ord("a") + index % 26]) * size, more=True)
    await request.body()


@route("stream-held")
async def stream_held(request):
    """One piece, then the gate, then another."""
    await request.start()
    await request.body(b"first\n", more=True)
    await gate_client.wait(request.rest or "stream")
    await request.body(b"second\n")


@route("flood")
async def flood(request):
    """Pieces of a size without end; prints how many bytes were taken, when the client has gone."""
    size, sent = int(request.query["size"]), 0
    await request.start()
    try:
        while True:
            await request.body(b"f" * size, more=True)
            sent += size
            if request.query.get("count") == "yes":
                print(f"flood: {sent}", flush=True)
    except OSError as error:
        print(f"flood: {type(error).__name__} after {sent}", flush=True)
        raise


@route("bytes")
async def some_bytes(request):
    await request.answer(b"x" * int(request.rest))


@route("sleep")
async def sleep(request):
    await asyncio.sleep(float(request.rest))
    await request.answer("slept\n")


@route("status")
async def status(request):
    await request.answer(f"{request.rest}\n", int(request.rest))


@route("no-body")
async def no_body(request):
    await request.start(int(request.rest))
    await request.body(b"must not be sent")


@route("raise")
async def raise_early(request):
    raise RuntimeError("the app raised before the head")


@route("raise-late")
async def raise_late(request):
    await request.start()
    await request.body(b"a piece\n", more=True)
    raise RuntimeError("the app raised in the body")


@route("raise-after")
async def raise_after(request):
    await request.answer("all is well\n")
    raise RuntimeError("the app raised behind its response")


@route("return")
async def return_early(request):
    """Returns before the response is complete: at once, after the start, or in the body."""
    if request.rest != "fresh":
        await request.start(length=100)
    if request.rest == "body":
        await request.body(b"a piece\n", more=True)


@route("exit")
async def leave(request):
    sys.exit(int(request.rest))


@route("print")
async def prints(request):
    print(f"printed out {request.rest}", flush=True)
    print(f"printed err {request.rest}", file=sys.stderr, flush=True)
    await request.answer("printed\n")


@route("length")
async def length(request):
    """Says one Content-Length and sends another: ``/length/SAID/SENT``."""
    said, _, sent = request.rest.partition("/")
    await request.start(length=int(said))
    await request.body(b"x" * int(sent))


@route("bad")
async def bad(request):
    """Messages that break the specification or HTTP."""
    kind = request.rest
    if kind == "status":
        await request.start("fine")
    elif kind == "interim-status":
        await request.start(103)
    elif kind == "header-newline":
        await request.start(headers=[(b"x-bad", b"a\r\nx-injected: yes")])
    elif kind == "header-name":
        await request.start(headers=[(b"x bad", b"a")])
    elif kind == "header-int":
        await request.start(headers=[(b"x-bad", 1)])
    elif kind == "header-pair":
        await request.start(headers=[(b"x-bad",)])
    elif kind == "body-str":
        await request.start()
        await request.body("text")
    elif kind == "body-first":
        await request.body(b"no head")
    elif kind == "start-twice":
        await request.start()
        await request.start()
    elif kind == "type":
        await request.send({"type": "http.response.nonsense"})
    elif kind == "no-type":
        await request.send({})
    elif kind == "no-dict":
        await request.send("http.response.start")
    await request.answer("bad\n")


@route("after-end")
async def after_end(request):
    """Goes on sending behind the end, and prints what comes of it."""
    await request.answer("ended\n")
    try:
        await request.body(b"too much")
    except Exception as error:
        print(f"after the end: {type(error).__name__}: {error}", flush=True)
    print(f"after the end: {await request.receive()}", flush=True)


@route("background")
async def background(request):
    """Goes on behind its response, until the gate lets it go."""
    await request.answer("answered\n")
    await gate_client.wait(request.rest or "background")
    print("background: done", flush=True)


@route("wait-for-disconnect")
async def wait_for_disconnect(request):
    """Takes the body, then waits until the client leaves; prints what it was told, and what a send says."""
    async for _ in request.pieces():
        pass
    gate_client.report("waits")
    print(f"told: {await request.receive()}", flush=True)
    try:
        for _ in range(100):
            await request.start() if _ == 0 else await request.body(b"x" * 1000, more=True)
            await asyncio.sleep(0.01)
    except OSError as error:
        print(f"send: {type(error).__name__}", flush=True)
        raise


@route("ignores-disconnect")
async def ignores_disconnect(request):
    """Never asks whether the client is there; prints how it ends."""
    gate_client.report("runs")
    began = time.monotonic()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print(f"cancelled after {time.monotonic() - began:.1f} s", flush=True)
        raise


@route("cancels-itself")
async def cancels_itself(request):
    raise asyncio.CancelledError


@route("receive-in-tasks")
async def receive_in_tasks(request):
    """``receive`` and ``send`` as frameworks use them: in tasks, with time limits, cancelled and asked again."""
    first = await asyncio.create_task(request.receive())
    seen = [first["type"]]
    try:
        await asyncio.wait_for(request.receive(), 0.05)
    except asyncio.TimeoutError:
        seen.append("timeout")
    pending = asyncio.ensure_future(request.receive())
    await asyncio.sleep(0)
    pending.cancel()
    seen.append("cancelled" if (await asyncio.gather(pending, return_exceptions=True)) else "")
    both = [asyncio.create_task(request.receive()) for _ in range(2)]
    await asyncio.create_task(
        request.send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    )
    await asyncio.wait_for(request.send({"type": "http.response.body", "body": json.dumps(seen).encode()}), 5)
    print("both:", [message["type"] for message in await asyncio.gather(*both)], flush=True)


@route("hints")
async def hints(request):
    """An interim response in either form, then the final one."""
    link = b"</style.css>; rel=preload"
    if request.rest == "asgi":
        await request.send({"type": "http.response.early_hint", "links": [link, b"</app.js>; rel=preload"]})
    else:
        status = int(request.rest or 103)
        await request.send({"type": "http.response.informational", "status": status, "headers": [(b"link", link)]})
    await request.answer("hinted\n")
    if request.query.get("late") == "yes":
        await request.send({"type": "http.response.informational", "status": 103, "headers": []})


@route("trailers")
async def trailers(request):
    """A body, then trailers, in two messages."""
    await request.start(headers=[(b"trailer", b"x-sum, x-more")], trailers=True)
    await request.body(b"summed", more=True)
    await request.body(b" up\n")
    for name, more in ((request.rest or "x-sum", True), ("x-more", False)):
        await request.send(
            {"type": "http.response.trailers", "headers": [(name.encode(), b"42")], "more_trailers": more}
        )


@route("path")
async def path(request):
    """A file by http.response.pathsend, with ``said`` as its Content-Length."""
    said = request.query.get("said")
    await request.start(length=said)
    await request.send({"type": "http.response.pathsend", "path": request.query["path"]})


@route("large-then-shrink")
async def large_then_shrink(request):
    """A file that loses its second half when its length is known."""
    path = request.query["path"]
    await request.start(length=os.path.getsize(path))
    os.truncate(path, os.path.getsize(path) // 2)
    await request.send({"type": "http.response.pathsend", "path": path})


@route("mutable")
async def mutable(request):
    """A body from memory that the app uses again at once."""
    await request.start()
    buffer = bytearray(20_000)
    for number in range(20):
        buffer[:] = bytes([ord("a") + number]) * len(buffer)
        await request.body(buffer if number % 2 else memoryview(buffer), more=True)
    buffer[:] = b"!" * len(buffer)
    await request.body()


@route("fork")
async def fork(request):
    """Forks a child that lives on, with a copy of every descriptor, and answers."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    await request.answer(str(child))


@route("forked-return")
async def forked_return(request):
    """A child that comes back from the call, as a confused app would let it."""
    os.fork()
    await request.answer(str(os.getpid()))


@route("pieces")
async def some_pieces(request):
    """``n`` pieces of ``size`` bytes; the gate in between if ``hold`` is given."""
    await request.start()
    for number in range(int(request.query["n"])):
        if "hold" in request.query and number == 1:
            await gate_client.wait(request.query["hold"])
        await request.body(b"p" * int(request.query["size"]), more=True)
    await request.body()


@route("subscribe")
async def subscribe(request):
    """Server-sent events that end with the client."""
    await request.start(headers=[(b"cache-control", b"no-store")])
    number = 0
    while True:
        await request.body(f"data: {number}\n\n".encode(), more=True)
        number += 1
        await asyncio.sleep(0.01)


# ---- the same as on WSGI, for tests that hold on both ----


@route("environ")
async def environ_dump(request):
    """The scope in the words of WSGI."""
    scope = request.scope
    values = {f"HTTP_{name.decode().upper().replace('-', '_')}": v.decode("latin-1") for name, v in scope["headers"]}
    address, port = scope["client"] or ("", "")
    values |= {
        "REQUEST_METHOD": scope["method"],
        "RAW_URI": "?".join(part.decode() for part in (scope["raw_path"], scope["query_string"]) if part),
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode(),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": address,
        "REMOTE_PORT": str(port),
    }
    await request.json({"values": values})


@route("early-hints")
async def early_hints(request):
    """Two 103 responses, then the page."""
    for headers in (
        [(b"link", b"</style.css>; rel=preload; as=style")],
        [(b"link", b"</script.js>; rel=preload; as=script"), (b"x-hint", b"second")],
    ):
        await request.send({"type": "http.response.informational", "status": 103, "headers": headers})
    await request.answer("hinted\n", headers=[(b"x-final", b"yes")])


@route("write")
async def write(request):
    await request.start()
    for piece in (b"written ", b"first, "):
        await request.body(piece, more=True)
    await request.body(b"then returned\n")


@route("file")
async def file(request):
    """A file, this source if none is named."""
    path = request.query.get("path", __file__)
    await request.start(length=os.path.getsize(path))
    await request.send({"type": "http.response.pathsend", "path": path})


@route("empty")
async def empty(request):
    """An empty body: no pieces, empty pieces, or some of each."""
    await request.start()
    for piece in {"none": (), "blank": (b"",), "mixed": (b"", b"a", b"", b"b")}[request.rest]:
        await request.body(piece, more=True)
    await request.body()


@route("die")
async def die(request):
    """The process ends by the signal asked for."""
    os.kill(os.getpid(), int(request.rest or "9"))
    time.sleep(60)
