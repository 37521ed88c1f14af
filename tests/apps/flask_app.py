"""A Flask app: routing, forms, cookies in a signed session, uploads, streaming, errors, static file."""

import hashlib

from flask import Flask, abort, jsonify, redirect, request, session, stream_with_context, url_for

app = Flask(__name__)
app.secret_key = "only for tests"


@app.get("/")
def index():
    return f"hello {request.args.get('name', 'flask')}"


@app.post("/form")
def form():
    return jsonify(request.form.to_dict())


@app.get("/visits")
def visits():
    session["visits"] = session.get("visits", 0) + 1
    return jsonify(visits=session["visits"])


@app.post("/upload")
def upload():
    stored = request.files["file"]
    data = stored.read()
    return jsonify(name=stored.filename, size=len(data), sha256=hashlib.sha256(data).hexdigest())


@app.post("/json")
def json():
    return jsonify(request.get_json())


@app.get("/stream")
def stream():
    @stream_with_context
    def lines():
        for number in range(100):
            yield f"{request.path} {number}\n"

    return lines(), {"Content-Type": "text/plain"}


@app.get("/url")
def url():
    return url_for("index", _external=True)


@app.get("/old")
def old():
    return redirect(url_for("index"))


@app.get("/teapot")
def teapot():
    abort(418)


@app.get("/fail")
def fail():
    raise RuntimeError("flask view failed")
