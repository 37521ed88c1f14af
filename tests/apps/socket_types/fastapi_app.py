"""The same as a FastAPI app, with a lifespan."""

import asyncio
import os
from contextlib import asynccontextmanager

import gate_client
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from socket_types import acts


@asynccontextmanager
async def lifespan(app):
    os.write(2, b"lifespan: startup\n")
    if os.environ.get("LIFESPAN_FAILS"):
        raise RuntimeError("the database is not there")
    yield
    os.write(2, b"lifespan: shutdown\n")


app = FastAPI(lifespan=lifespan)


def texts(path, act):
    @app.get(path, response_class=PlainTextResponse)
    async def text():
        return act()


for path, act in acts.TEXTS.items():
    texts(path, act)


@app.get("/identity")
async def identity():
    return acts.identity()


@app.get("/await/{label}", response_class=PlainTextResponse)
async def held(label: str):
    await asyncio.get_running_loop().run_in_executor(None, gate_client.pause, label)
    return "released\n"


@app.get("/stream")
async def stream():
    async def pieces():
        yield b"one\n"
        await asyncio.get_running_loop().run_in_executor(None, gate_client.pause, "stream")
        yield b"two\n"

    return StreamingResponse(pieces(), media_type="text/plain")


@app.post("/echo")
async def echo(request: Request):
    return Response(await request.body())


@app.websocket("/chat")
async def chat(socket: WebSocket):
    await socket.accept()
    async for message in socket.iter_text():
        await socket.send_text(message)
