"""The app of `make demo` and of the pictures in the documentation: a shop whose pages take time, fail now and then, and
compute a little. It counts orders with prometheus_client.
"""

import random
import time

from prometheus_client import Counter

ORDERS = Counter("shop_orders", "Orders taken", ["kind"])

#: Path, share of the traffic, seconds on average, share that fails.
PAGES = {
    "/": (30, 0.012, 0.0),
    "/products": (25, 0.03, 0.0),
    "/products/42": (20, 0.02, 0.0),
    "/search": (12, 0.09, 0.002),
    "/cart": (8, 0.025, 0.0),
    "/checkout": (4, 0.18, 0.02),
    "/report.pdf": (1, 1.6, 0.0),
}


def a_page(chance: random.Random) -> str:
    """A path, as often as people ask for it."""
    return chance.choices(list(PAGES), [share for share, _, _ in PAGES.values()])[0]


def application(environ, start_response):
    """WSGI."""
    path = environ["PATH_INFO"]
    if path not in PAGES:
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return [b""]
    _, seconds, failing = PAGES[path]
    # The database, mostly; the rest is ours.
    time.sleep(random.gammavariate(4, seconds / 4) * 0.9)
    end = time.thread_time() + seconds * 0.03
    while time.thread_time() < end:
        pass
    if random.random() < failing:
        start_response("503 Service Unavailable", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return [b""]
    if path == "/checkout":
        ORDERS.labels(random.choice(("book", "record", "plant"))).inc()
    body = f"{path}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
