"""Real ASGI frameworks, each with the same paths: ``frameworks:NAME()``. Only the one asked for is imported."""

import asyncio
import hashlib
import json
import os

import gate_client


def fastapi():
    from contextlib import asynccontextmanager

    from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, UploadFile
    from fastapi.responses import FileResponse, StreamingResponse
    from pydantic import BaseModel

    class Item(BaseModel):
        name: str
        price: float = 1.0

    @asynccontextmanager
    async def lifespan(app):
        print("fastapi: up", flush=True)
        yield {"greeting": "hello from the lifespan"}
        print("fastapi: down", flush=True)

    app = FastAPI(lifespan=lifespan)

    async def connection():
        yield "connected"
        print("fastapi: connection closed", flush=True)

    @app.get("/")
    async def root():
        return {"framework": "fastapi", "pid": os.getpid()}

    @app.get("/state")
    async def state(request: Request):
        return {"greeting": request.state.greeting}

    @app.post("/items")
    async def items(item: Item, link: str = Depends(connection)):
        return {"name": item.name, "price": item.price, "link": link}

    @app.get("/missing")
    async def missing():
        raise HTTPException(404, "nothing here")

    @app.get("/error")
    async def error():
        raise RuntimeError("fastapi went wrong")

    @app.get("/sync")
    def in_a_thread():
        return {"sync": True}

    @app.post("/upload")
    async def upload(file: UploadFile):
        data = await file.read()
        return {"name": file.filename, "length": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    @app.get("/stream")
    async def stream():
        async def pieces():
            for number in range(10):
                yield f"{number}\n"
                await asyncio.sleep(0.001)

        return StreamingResponse(pieces(), media_type="text/plain")

    @app.get("/file")
    async def file():
        return FileResponse(__file__)

    @app.get("/background")
    async def background(tasks: BackgroundTasks):
        async def work():
            await gate_client.wait("fastapi")
            print("fastapi: background done", flush=True)

        tasks.add_task(work)
        return {"accepted": True}

    return app


def starlette():
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.requests import ClientDisconnect
    from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
    from starlette.routing import Mount, Route

    async def root(request):
        return JSONResponse({"framework": "starlette", "pid": os.getpid()})

    async def digest(request):
        total, length = hashlib.sha256(), 0
        try:
            async for piece in request.stream():
                total.update(piece)
                length += len(piece)
        except ClientDisconnect:
            print("starlette: the client has left", flush=True)
            raise
        return JSONResponse({"length": length, "sha256": total.hexdigest()})

    async def upload(request):
        form = await request.form()
        data = await form["file"].read()
        return JSONResponse({"name": form["file"].filename, "length": len(data), "text": form["text"]})

    async def stream(request):
        async def pieces():
            number = 0
            try:
                while True:
                    yield f"data: {number}\n\n"
                    number += 1
                    await asyncio.sleep(0.005)
            finally:
                print("starlette: stream ended", flush=True)

        return StreamingResponse(pieces(), media_type="text/event-stream")

    async def poll(request):
        """Waits for news until the client leaves."""
        gate_client.report("poll")
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        print("starlette: poll saw the client leave", flush=True)
        return PlainTextResponse("")

    async def file(request):
        return FileResponse(__file__)

    async def background(request):
        async def work():
            await gate_client.wait("starlette")
            print("starlette: background done", flush=True)

        return PlainTextResponse("accepted\n", background=BackgroundTask(work))

    async def where(request):
        return JSONResponse(
            {"url": str(request.url), "base": str(request.base_url), "for": str(request.url_for("root"))}
        )

    async def error(request):
        raise RuntimeError("starlette went wrong")

    return Starlette(
        routes=[
            Route("/", root, name="root"),
            Route("/digest", digest, methods=["POST"]),
            Route("/upload", upload, methods=["POST"]),
            Route("/stream", stream),
            Route("/poll", poll),
            Route("/file", file),
            Route("/background", background),
            Route("/where", where),
            Route("/error", error),
            Mount("/mounted", routes=[Route("/inner", root)]),
        ]
    )


def quart():
    from quart import Quart, jsonify, request

    app = Quart(__name__)
    app.config["MAX_CONTENT_LENGTH"] = None

    @app.before_serving
    async def up():
        print("quart: up", flush=True)

    @app.after_serving
    async def down():
        print("quart: down", flush=True)

    @app.get("/")
    async def root():
        return jsonify(framework="quart", pid=os.getpid())

    @app.post("/digest")
    async def digest():
        total, length = hashlib.sha256(), 0
        async for piece in request.body:
            total.update(piece)
            length += len(piece)
        return jsonify(length=length, sha256=total.hexdigest())

    @app.get("/stream")
    async def stream():
        async def pieces():
            for number in range(10):
                yield f"{number}\n".encode()

        return pieces(), 200, {"Content-Type": "text/plain"}

    @app.get("/error")
    async def error():
        raise RuntimeError("quart went wrong")

    return app


def litestar():
    from litestar import Litestar, Request, get, post
    from litestar.response import Stream

    @get("/")
    async def root() -> dict[str, object]:
        return {"framework": "litestar", "pid": os.getpid()}

    @post("/digest")
    async def digest(request: Request) -> dict[str, object]:
        total, length = hashlib.sha256(), 0
        async for piece in request.stream():
            total.update(piece)
            length += len(piece)
        return {"length": length, "sha256": total.hexdigest()}

    @get("/stream")
    async def stream() -> Stream:
        async def pieces():
            for number in range(10):
                yield f"{number}\n"

        return Stream(pieces(), media_type="text/plain")

    @get("/error")
    async def error() -> None:
        raise RuntimeError("litestar went wrong")

    async def up() -> None:
        print("litestar: up", flush=True)

    async def down() -> None:
        print("litestar: down", flush=True)

    return Litestar([root, digest, stream, error], on_startup=[up], on_shutdown=[down])


def django():
    """Without a database: requests, streaming, middleware, sync and async views."""
    from django.conf import settings

    settings.configure(
        DEBUG=False,
        SECRET_KEY="for tests",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        LOGGING_CONFIG=None,
    )
    from django.core.asgi import get_asgi_application
    from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
    from django.urls import path

    async def root(request):
        return JsonResponse({"framework": "django", "pid": os.getpid()})

    def sync(request):
        return HttpResponse(b"sync\n", content_type="text/plain")

    def digest(request):
        return JsonResponse({"length": len(request.body), "sha256": hashlib.sha256(request.body).hexdigest()})

    async def stream(request):
        async def pieces():
            for number in range(10):
                yield f"{number}\n"

        return StreamingHttpResponse(pieces(), content_type="text/plain")

    async def hold(request):
        gate_client.report("django")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("django: cancelled", flush=True)
            raise
        return HttpResponse(b"")

    async def error(request):
        raise RuntimeError("django went wrong")

    global urlpatterns
    urlpatterns = [
        path("", root),
        path("sync", sync),
        path("digest", digest),
        path("stream", stream),
        path("hold", hold),
        path("error", error),
    ]
    return get_asgi_application()
