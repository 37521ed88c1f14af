"""A native Tornado app: plain and async handlers, streaming both ways, and a chat over WebSockets."""

import asyncio

import gate_client
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler

from socket_types import acts


class Text(RequestHandler):
    def initialize(self, act):
        self.act = act

    def get(self):
        self.set_header("Content-Type", "text/plain")
        self.write(self.act())


class Identity(RequestHandler):
    def get(self):
        self.write(acts.identity())


class Await(RequestHandler):
    """Held at the gate, while the loop goes on."""

    async def get(self, label):
        await IOLoop.current().run_in_executor(None, gate_client.pause, label)
        self.write("released\n")


class Hold(RequestHandler):
    """Held at the gate with the loop."""

    def get(self, label):
        gate_client.pause(label)
        self.write("released\n")


class Stream(RequestHandler):
    """A piece, the gate, another piece."""

    async def get(self):
        self.write("one\n")
        await self.flush()
        await IOLoop.current().run_in_executor(None, gate_client.pause, "stream")
        self.write("two\n")


class Echo(RequestHandler):
    def post(self):
        self.write(self.request.body)


@stream_request_body
class Count(RequestHandler):
    """Counts a body without keeping it."""

    def initialize(self):
        self.total = 0

    def data_received(self, chunk):
        self.total += len(chunk)

    def post(self):
        self.write(str(self.total))


class Never(RequestHandler):
    """A long poll that nobody answers."""

    async def get(self):
        await asyncio.Event().wait()


class Boom(RequestHandler):
    def get(self):
        raise ValueError("a bug of the app")


class Chat(WebSocketHandler):
    """Everybody hears what anybody says."""

    members = set()

    def open(self, *args):
        self.members.add(self)
        self.write_message(f"members {len(self.members)}")

    def on_message(self, message):
        for member in self.members:
            member.write_message(message)

    def on_close(self):
        self.members.discard(self)


app = Application(
    [
        *[(path, Text, {"act": act}) for path, act in acts.TEXTS.items()],
        ("/identity", Identity),
        ("/await/(.*)", Await),
        ("/hold/(.*)", Hold),
        ("/stream", Stream),
        ("/echo", Echo),
        ("/count", Count),
        ("/never", Never),
        ("/boom", Boom),
        ("/chat", Chat),
    ]
)
