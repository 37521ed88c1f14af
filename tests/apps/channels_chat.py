"""A chat on Django Channels, with its in-memory layer: so all of it has to be in one worker."""
# ruff: noqa: E402, as Django wants its settings before the rest of it is imported

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="for tests",
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()

from channels.consumer import SyncConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path, re_path

urlpatterns = [path("", lambda request: HttpResponse("plain Django"))]


class Chat(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.room = self.scope["url_route"]["kwargs"]["room"]
        if self.room == "closed":
            await self.close()
            return
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()
        await self.channel_layer.group_send(self.room, {"type": "chat.message", "text": "somebody came"})

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room, self.channel_name)
        await self.channel_layer.group_send(self.room, {"type": "chat.message", "text": f"somebody left: {code}"})

    async def receive_json(self, content):
        if content == "quit":
            await self.close(4000)
        else:
            await self.channel_layer.group_send(self.room, {"type": "chat.message", "text": content})

    async def chat_message(self, event):
        await self.send_json(event["text"])


class Blocking(SyncConsumer):
    """Runs in a thread."""

    def websocket_connect(self, event):
        self.send({"type": "websocket.accept"})

    def websocket_receive(self, event):
        self.send({"type": "websocket.send", "text": event["text"].upper()})


websockets = URLRouter([re_path(r"^chat/(?P<room>\w+)$", Chat.as_asgi()), path("blocking", Blocking.as_asgi())])
application = ProtocolTypeRouter(
    {"http": get_asgi_application(), "websocket": OriginValidator(websockets, ["http://testserver"])}
)
