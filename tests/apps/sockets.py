"""WebSocket, one path per thing that a test wants to see or to hold; `GET /seen/NAME` tells what an app has seen."""

import asyncio
import json
from urllib.parse import parse_qs

import gate_client

#: What connections with a `name` in their query have seen, step by step.
SEEN = {}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("there is none")
    query = {key: values[-1] for key, values in parse_qs(scope["query_string"].decode()).items()}
    seen = SEEN.setdefault(query["name"], []) if "name" in query else []
    path = scope["path"].lstrip("/")
    if scope["type"] == "http":
        return await http(scope, path, send)
    try:
        return await PATHS[path.partition("/")[0]](scope, receive, send, query, seen)
    except BaseException as error:
        seen.append(f"{type(error).__name__}: {error}")
        raise
    finally:
        seen.append("end")


async def http(scope, path, send):
    if path.startswith("seen/"):
        status, body = 200, json.dumps(SEEN.get(path.partition("/")[2]))
    else:
        status, body = 200, scope["type"]
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body.encode()})


def plain(value):
    """As JSON can say it."""
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def native(value):
    """The opposite of `plain`."""
    if isinstance(value, dict):
        if value.keys() == {"bytes"}:
            return value["bytes"].encode("latin-1")
        return {key: native(part) for key, part in value.items()}
    return [native(part) for part in value] if isinstance(value, list) else value


async def accept(receive, send, seen):
    seen.append(plain(await receive()))
    await send({"type": "websocket.accept"})


async def echo(scope, receive, send, query, seen):
    """Sends back what comes."""
    await accept(receive, send, seen)
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            seen.append(plain(event))
            return
        await send({"type": "websocket.send", **{key: event[key] for key in ("bytes", "text") if key in event}})


async def script(scope, receive, send, query, seen):
    """Does what the query's `do` says, a list of steps; `seen` gets what came of each."""
    for step, *arguments in json.loads(query["do"]):
        if step == "receive":
            seen.append(plain(await receive()))
        elif step in ("accept", "send"):
            if step == "accept":
                assert (await receive())["type"] == "websocket.connect"
            message = native(arguments[0]) if arguments else {"type": "websocket.accept"}
            # What can't be said in JSON.
            if message.get("headers"):
                message["headers"] = [tuple(pair) for pair in message["headers"]]
            try:
                await send(message)
            except Exception as error:
                seen.append(f"{type(error).__name__}: {error}")
            else:
                seen.append(None)
        elif step == "pause":
            await asyncio.to_thread(gate_client.pause, arguments[0])
            seen.append("released")
        elif step == "raise":
            raise ValueError("as asked")
        elif step == "exit":
            raise SystemExit(7)
        elif step == "cancel":
            raise asyncio.CancelledError


async def described(scope, receive, send, query, seen):
    """The scope."""
    await accept(receive, send, seen)
    shown = {key: plain(value) if key != "state" else None for key, value in scope.items()}
    await send({"type": "websocket.send", "text": json.dumps(shown)})


async def pushed(scope, receive, send, query, seen):
    """Sends `count` messages of `size` bytes as fast as it may, and notes each that was taken."""
    await accept(receive, send, seen)
    for number in range(int(query["count"])):
        text = str(number).ljust(int(query["size"]))
        await send({"type": "websocket.send", **({"text": text} if "text" in query else {"bytes": text.encode()})})
        seen.append(number)


async def slow(scope, receive, send, query, seen):
    """Takes nothing before the gate opens; then tells how many messages and bytes came, each time that it is asked."""
    await accept(receive, send, seen)
    await asyncio.to_thread(gate_client.pause, "slow")
    messages = size = 0
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            seen.append(plain(event))
            return
        if event.get("text") == "how many":
            await send({"type": "websocket.send", "text": f"{messages} {size}"})
        else:
            messages, size = messages + 1, size + len(event.get("bytes") or event.get("text"))


async def two(scope, receive, send, query, seen):
    """Receives in one task while it sends in another."""
    await accept(receive, send, seen)

    async def tick():
        for number in range(100):
            await send({"type": "websocket.send", "text": str(number)})
            await asyncio.sleep(0)

    async def count():
        while (await receive())["type"] == "websocket.receive":
            seen.append("got")

    await asyncio.gather(tick(), count())


PATHS = {"echo": echo, "script": script, "scope": described, "push": pushed, "slow": slow, "two": two}
