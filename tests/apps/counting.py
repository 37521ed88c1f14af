"""Counts with prometheus_client as apps do: a counter, a histogram, a summary, gauges of several modes."""

import gc
import os
import signal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest, multiprocess

ORDERS = Counter("shop_orders", "Orders taken.", ["kind"])
SECONDS = Histogram("shop_order_seconds", "Time of an order.", buckets=(0.1, 1, 10))
BYTES = Summary("shop_order_bytes", "Size of an order.")
RUNNING = Gauge("shop_running", "Orders under way.", multiprocess_mode="livesum")
LEVEL = Gauge("shop_level", "Each worker's own.")
HIGHEST = Gauge("shop_highest", "Highest order so far.", multiprocess_mode="max")
ORDERS.labels("imported").inc(0)


def answer(path: str) -> bytes:
    """What a path does."""
    words = path.strip("/").split("/")
    if words[0] == "order":
        ORDERS.labels(words[1]).inc()
        SECONDS.observe(0.5)
        BYTES.observe(100)
        HIGHEST.set(int(words[2]) if len(words) > 2 else 1)
    elif words[0] == "level":
        LEVEL.set(float(words[1]))
    elif words[0] == "die":
        RUNNING.inc()
        os.kill(os.getpid(), signal.SIGKILL)
    elif words[0] == "child":
        # Not multiprocessing: that would import the app again.
        pid = os.fork()
        if pid == 0:
            ORDERS.labels("child").inc()
            os._exit(0)
        os.waitpid(pid, 0)
    elif words[0] == "collect":
        gc.collect()
    elif words[0] == "own":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)
    return f"{os.getpid()}\n".encode()


def application(environ, start_response):
    """WSGI."""
    body = answer(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def app(scope, receive, send):
    """ASGI."""
    if scope["type"] != "http":
        raise NotImplementedError
    body = answer(scope["path"])
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
