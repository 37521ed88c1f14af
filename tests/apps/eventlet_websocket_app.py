"""WebSockets through eventlet's own module, as in its documentation."""

from eventlet import websocket


@websocket.WebSocketWSGI
def echo(ws):
    while (message := ws.wait()) is not None:
        ws.send(message)


def application(environ, start_response):
    if environ["PATH_INFO"] == "/echo":
        return echo(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"plain\n"]
