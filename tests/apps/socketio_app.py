"""Flask-SocketIO: rooms, acknowledgements, broadcasts and a background task, with polling and WebSockets."""

import os
import sys

from flask import Flask, request
from flask_socketio import SocketIO, emit, join_room

# Where gevent-websocket is installed, the library would want that package's own server.
sys.modules["geventwebsocket"] = None

app = Flask(__name__)
socketio = SocketIO(app, async_mode=os.environ["ASYNC_MODE"], cors_allowed_origins="*")
connected = set()


@app.get("/")
def index():
    return f"{len(connected)} connected, mode {socketio.async_mode}\n"


@socketio.on("connect")
def on_connect():
    connected.add(request.sid)


@socketio.on("disconnect")
def on_disconnect():
    connected.discard(request.sid)


@socketio.on("double")
def double(number):
    return number * 2


@socketio.on("enter")
def enter(room):
    join_room(room)
    return room


@socketio.on("say")
def say(data):
    emit("said", data["text"], to=data["room"])


@socketio.on("blob")
def blob(data):
    return data[::-1]


@socketio.on("count")
def count(most):
    """Counts in the background, as long as others are served."""
    sid = request.sid

    def run():
        for number in range(most):
            socketio.sleep(0.02)
            socketio.emit("number", number, to=sid)

    socketio.start_background_task(run)
