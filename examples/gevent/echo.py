"""A server of long-lived sockets: each WebSocket client has a greenlet that answers what it says, until it leaves.

`deploy/examples/gevent.yaml` runs it as a GunicornApp.
"""

import os

from flask import Flask
from flask_sock import Sock

app = Flask(__name__)
sock = Sock(app)


@app.get("/")
def index():
    return {"message": "Hello from a pod; a WebSocket server is at /echo.", "pod": os.environ.get("HOSTNAME", "none")}


@sock.route("/echo")
def echo(ws):
    while True:
        ws.send(ws.receive())
