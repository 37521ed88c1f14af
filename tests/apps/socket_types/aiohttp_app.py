"""The same as an aiohttp app; ``factory`` is the other form that aiohttp's worker takes."""

import asyncio

import gate_client
from aiohttp import WSMsgType, web

from socket_types import acts


def text(act):
    async def handler(request):
        return web.Response(text=act())

    return handler


async def identity(request):
    return web.json_response(acts.identity())


async def held(request):
    label = request.match_info["label"]
    await asyncio.get_running_loop().run_in_executor(None, gate_client.pause, label)
    return web.Response(text="released\n")


async def stream(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"one\n")
    await asyncio.get_running_loop().run_in_executor(None, gate_client.pause, "stream")
    await response.write(b"two\n")
    return response


async def echo(request):
    return web.Response(body=await request.read())


async def chat(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


def made():
    app = web.Application(client_max_size=16 << 20)
    for path, act in acts.TEXTS.items():
        app.router.add_get(path, text(act))
    app.router.add_get("/identity", identity)
    app.router.add_get("/await/{label}", held)
    app.router.add_get("/stream", stream)
    app.router.add_post("/echo", echo)
    app.router.add_get("/chat", chat)
    return app


app = made()


async def factory():
    return made()
