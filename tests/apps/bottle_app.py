"""A Bottle app: routes, forms, cookies, uploads, templates, static file."""

import hashlib
from pathlib import Path

import bottle

app = bottle.Bottle()


@app.get("/")
def index():
    return bottle.template("hello {{name}}", name=bottle.request.query.name or "bottle")


@app.post("/form")
def form():
    return {"title": bottle.request.forms.title}


@app.post("/upload")
def upload():
    data = bottle.request.files.get("file").file.read()
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@app.get("/visits")
def visits():
    count = int(bottle.request.get_cookie("visits", secret="only for tests") or 0) + 1
    bottle.response.set_cookie("visits", str(count), secret="only for tests")
    return str(count)


@app.get("/static/<name>")
def static(name):
    return bottle.static_file(name, root=Path(__file__).parent)


@app.get("/fail")
def fail():
    raise RuntimeError("bottle view failed")
