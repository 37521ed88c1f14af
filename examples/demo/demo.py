"""A small app to watch the server with: who answers, what a slow or a crashing request does, what a reload changes.

Only the standard library, so that ``make run`` needs nothing else. Change ``GREETING`` and send the server a HUP.
"""

import html
import json
import os
import signal
import time
from urllib.parse import parse_qs

GREETING = "Hello from Podicorn"

STARTED = time.time()
answered = 0

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{greeting}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #222; }}
  code {{ background: #f2f2f2; padding: .1em .3em; border-radius: 3px; }}
  dt {{ font-weight: 600; margin-top: .8rem; }} dd {{ margin: 0; }}
</style>
<h1>{greeting}</h1>
<p>Worker <code>{pid}</code>, up for {uptime:.0f} s, has answered {answered} requests.
Reload the page: workers take turns.</p>
<dl>
  <dt><a href="/slow?seconds=5">/slow?seconds=5</a></dt>
  <dd>Keeps one worker busy. The others go on, and so do the probes.</dd>
  <dt><a href="/crash">/crash</a></dt>
  <dd>Kills its worker. Your request ends in a closed connection; a new worker takes the place.</dd>
  <dt><a href="/fail">/fail</a></dt>
  <dd>Raises an exception: a plain 500 here, the traceback in the log.</dd>
  <dt><a href="/environ">/environ</a></dt>
  <dd>What the app is told of your request.</dd>
</dl>
</html>
"""


def application(environ, start_response):
    """WSGI."""
    global answered
    answered += 1
    path = environ["PATH_INFO"]
    query = parse_qs(environ["QUERY_STRING"])

    def answer(body, kind="text/plain; charset=utf-8", status="200 OK"):
        data = body.encode()
        # Each answer is of its moment and its worker.
        headers = [("Content-Type", kind), ("Content-Length", str(len(data))), ("Cache-Control", "no-store")]
        start_response(status, headers)
        return [data]

    if path == "/":
        page = PAGE.format(
            greeting=html.escape(GREETING), pid=os.getpid(), uptime=time.time() - STARTED, answered=answered
        )
        return answer(page, "text/html; charset=utf-8")
    if path == "/slow":
        try:
            seconds = min(max(float(query.get("seconds", ["5"])[0]), 0.0), 60.0)
        except ValueError:
            return answer("seconds must be a number\n", status="400 Bad Request")
        time.sleep(seconds)
        return answer(f"worker {os.getpid()} slept {seconds:g} s\n")
    if path == "/crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "/fail":
        raise RuntimeError("the demo app was asked to fail")
    if path == "/environ":
        shown = {key: value if isinstance(value, str) else repr(value) for key, value in sorted(environ.items())}
        return answer(json.dumps(shown, indent=2) + "\n", "application/json")
    return answer("no such page\n", status="404 Not Found")
