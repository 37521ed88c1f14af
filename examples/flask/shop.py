"""A small Flask app with work to do: each report takes a worker for a tenth of a second.

`deploy/examples/flask.yaml` runs it as a GunicornApp.
"""

import os
import time

from flask import Flask, jsonify, request

app = Flask(__name__)


@app.get("/")
def index():
    return jsonify(message="Hello from a pod.", pod=os.environ.get("HOSTNAME", "none"), pid=os.getpid())


@app.get("/report")
def report():
    """Stands for a query: it waits, and its worker with it. `?seconds=` sets how long, at most 10."""
    seconds = min(max(request.args.get("seconds", 0.1, type=float), 0.0), 10.0)
    time.sleep(seconds)
    return jsonify(seconds=seconds)
