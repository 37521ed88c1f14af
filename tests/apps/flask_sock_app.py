"""WebSockets through flask-sock, which takes the socket from ``gunicorn.socket``."""

import os
import threading

from flask import Flask
from flask_sock import Sock

app = Flask(__name__)
app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": float(os.environ.get("PING_INTERVAL", "25"))}
sock = Sock(app)
members = {}
members_lock = threading.Lock()


@app.get("/")
def index():
    return f"hello {os.getpid()}\n"


@app.get("/members")
def count():
    return str(len(members))


@sock.route("/echo")
def echo(ws):
    """Sends everything back, until it is told to end."""
    while (message := ws.receive()) != "bye":
        ws.send(message)
    ws.close(4000, "as you wish")


@sock.route("/raise")
def failing(ws):
    ws.receive()
    raise RuntimeError("the handler raised")


@sock.route("/chat/<name>")
def chat(ws, name):
    """What one says all others hear."""
    with members_lock:
        members[name] = ws
    try:
        while True:
            text = ws.receive()
            with members_lock:
                others = [other for other in members.items() if other[0] != name]
            for _, other in others:
                other.send(f"{name}: {text}")
    finally:
        with members_lock:
            del members[name]
