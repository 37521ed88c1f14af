"""Apps that make spans with the OpenTelemetry SDK, as users do, and tell what they saw of the request's trace.

The SDK reads the same variables as the server. Its exporter begins in the worker: its thread would not survive a fork.
"""

import json
import os
import signal
import threading
import time

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

_lock = threading.Lock()
_tracer = None


def tracer():
    global _tracer
    with _lock:
        if _tracer is None:
            provider = TracerProvider()
            # The app's own spans go by HTTP, whatever the server speaks.
            endpoint = os.environ.get("APP_TRACES_ENDPOINT")
            if endpoint:
                provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint)))
            _tracer = provider.get_tracer("shop")
    return _tracer


def respond(path, headers):
    """The body: what the app has been told, and the context of its own span."""
    if path == "/crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "/slow":
        time.sleep(float(os.environ.get("SLOW", "2")))
    if path == "/error":
        raise RuntimeError("the app raised")
    with tracer().start_as_current_span("work", context=extract(headers)) as span:
        context = span.get_span_context()
        return json.dumps(
            {
                "headers": headers,
                "trace": f"{context.trace_id:032x}",
                "span": f"{context.span_id:016x}",
                "sampled": context.trace_flags.sampled,
                "parent": f"{span.parent.span_id:016x}" if getattr(span, "parent", None) else None,
            }
        ).encode()


def app(environ, start_response):
    names = {"HTTP_TRACEPARENT": "traceparent", "HTTP_TRACESTATE": "tracestate", "HTTP_BAGGAGE": "baggage"}
    headers = {header: environ[name] for name, header in names.items() if name in environ}
    body = respond(environ["PATH_INFO"], headers)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    wanted = ("traceparent", "tracestate", "baggage")
    pairs = [(name.decode(), value.decode()) for name, value in scope["headers"]]
    assert len([name for name, _ in pairs if name == "traceparent"]) <= 1
    body = respond(scope["path"], {name: value for name, value in pairs if name in wanted})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def tornado_app():
    from tornado.web import Application, RequestHandler

    class Handler(RequestHandler):
        def get(self, path):
            wanted = ("traceparent", "tracestate", "baggage")
            headers = {name: self.request.headers[name] for name in wanted if name in self.request.headers}
            self.write(respond(self.request.path, headers))

    return Application([("(.*)", Handler)])
