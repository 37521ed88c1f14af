"""The site's pages."""

import hashlib
import os

import gate_client
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST

from django_site.board.models import Note, Upload


@ensure_csrf_cookie
def index(request: HttpRequest) -> HttpResponse:
    """All notes, newest first, and the form's token."""
    return JsonResponse(
        {
            "notes": list(Note.objects.order_by("-id").values_list("title", flat=True)),
            "token": get_token(request),
        }
    )


@require_POST
def notes(request: HttpRequest) -> HttpResponse:
    """Adds a note."""
    Note.objects.create(title=request.POST["title"])
    return redirect("/")


@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    """Keeps a file."""
    sent = request.FILES["file"]
    content = sent.read()
    kept = Upload.objects.create(name=sent.name, sha256=hashlib.sha256(content).hexdigest(), content=content)
    return JsonResponse({"id": kept.id, "size": len(content), "sha256": kept.sha256})


def download(request: HttpRequest, number: int) -> HttpResponse:
    """Gives a file back."""
    kept = get_object_or_404(Upload, id=number)
    return HttpResponse(bytes(kept.content), content_type="application/octet-stream")


def visits(request: HttpRequest) -> HttpResponse:
    """Counts in the session."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


def who(request: HttpRequest) -> HttpResponse:
    """One query, and which process made it."""
    return JsonResponse({"pid": os.getpid(), "notes": Note.objects.count()})


def held(request: HttpRequest, label: str) -> HttpResponse:
    """Waits at the test's gate."""
    gate_client.pause(label)
    return JsonResponse({"pid": os.getpid()})


def fail(request: HttpRequest) -> HttpResponse:
    """Raises."""
    raise RuntimeError("django view failed")
