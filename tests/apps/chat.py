"""A chat on Starlette: what one says in a room, all in it hear."""

import asyncio
import contextlib

from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

ROOMS = {}
TICKS = []


@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"greeting": "welcome"}


async def chat(websocket):
    room = ROOMS.setdefault(websocket.path_params["room"], set())
    await websocket.accept(subprotocol="chat" if "chat" in websocket.scope["subprotocols"] else None)
    await websocket.send_json({"say": websocket.state.greeting, "there": len(room)})
    room.add(websocket)
    try:
        # Left by WebSocketDisconnect, which nobody here catches.
        while True:
            said = await websocket.receive_json()
            for member in list(room):
                await member.send_json({"say": said, "by": websocket.query_params.get("name")})
    finally:
        room.discard(websocket)


async def ticker(websocket):
    """Sends without being asked, until its client leaves."""
    await websocket.accept()
    number = 0
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(str(number))
            TICKS.append(number)
            number += 1
            await asyncio.sleep(0.01)


async def private(websocket):
    if websocket.headers.get("authorization") != "Bearer secret":
        denial = PlainTextResponse("not for you", 401, headers={"www-authenticate": "Bearer"})
        return await websocket.send_denial_response(denial)
    await websocket.accept()
    await websocket.send_text("come in")
    await websocket.close(3001, "that is all")
    return None


class Echo(WebSocketEndpoint):
    encoding = "bytes"

    async def on_receive(self, websocket, data):
        await websocket.send_bytes(data)

    async def on_disconnect(self, websocket, close_code):
        TICKS.append(close_code)


async def rooms(request):
    return JSONResponse({name: len(room) for name, room in ROOMS.items()})


async def ticks(request):
    return JSONResponse(TICKS)


app = Starlette(
    routes=[
        WebSocketRoute("/chat/{room}", chat),
        WebSocketRoute("/ticker", ticker),
        WebSocketRoute("/private", private),
        WebSocketRoute("/echo", Echo),
        Route("/rooms", rooms),
        Route("/ticks", ticks),
    ],
    lifespan=lifespan,
)
