"""Apps whose lifespan goes one way or another: ``lifespans:NAME``."""

import asyncio
import os

import gate_client


async def hello(send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
    await send({"type": "http.response.body", "body": b"hello\n"})


def app(lifespan):
    async def made(scope, receive, send):
        if scope["type"] == "lifespan":
            return await lifespan(scope, receive, send)
        return await hello(send)

    return made


@app
async def raises(scope, receive, send):
    raise NotImplementedError("no lifespan here")


@app
async def returns(scope, receive, send):
    return None


@app
async def fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is down"})


@app
async def held(scope, receive, send):
    """Starts when the gate lets it."""
    await receive()
    await gate_client.wait("startup")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


@app
async def slow_end(scope, receive, send):
    """Ends when the gate lets it."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("shutdown begins", flush=True)
    await gate_client.wait("shutdown")
    print("shutdown ends", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


@app
async def bad_end(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "could not say goodbye"})


@app
async def raises_at_the_end(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    raise RuntimeError("broken at the end")


@app
async def with_background(scope, receive, send):
    """Has a task of its own that must be there for the whole life, and ends it itself."""
    await receive()

    async def beat():
        while True:
            await asyncio.sleep(0.01)

    task = asyncio.create_task(beat(), name="own")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print(
        f"own task at the end: cancelled={task.cancelled() or task.cancelling() if hasattr(task, 'cancelling') else 0}"
    )
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    print("own task ended", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


@app
async def wrong_answer(scope, receive, send):
    await receive()
    await send({"type": "lifespan.nonsense"})


@app
async def exits(scope, receive, send):
    await receive()
    os._exit(7)


async def loop_at_import():
    return "made"


#: As old apps do it, when they are imported.
MADE_AT_IMPORT = asyncio.get_event_loop_policy().get_event_loop() if os.environ.get("WANT_LOOP") else None


async def wants_loop(scope, receive, send):
    if scope["type"] == "lifespan":
        raise NotImplementedError
    assert MADE_AT_IMPORT is asyncio.get_running_loop()
    await hello(send)
