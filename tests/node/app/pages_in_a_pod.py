"""The Django site's pages, and some more for what happens to pods."""

import os
import time

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django_site.board.models import Note


def release(request: HttpRequest) -> HttpResponse:
    """One query, and who answers; `?ms=` takes its time."""
    time.sleep(int(request.GET.get("ms", "0")) / 1000)
    return JsonResponse(
        {
            "release": os.environ["RELEASE"],
            "pod": os.environ["HOSTNAME"],
            "pid": os.getpid(),
            "parent": os.getppid(),
            "uid": os.getuid(),
            "notes": Note.objects.count(),
        }
    )


def hoard(request: HttpRequest) -> HttpResponse:
    """Takes more memory than the pod has, all at once."""
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 16)


def orphans(request: HttpRequest, count: int) -> HttpResponse:
    """Leaves orphans that exit when their parents are gone."""
    left = []
    for _ in range(count):
        read, write = os.pipe()
        middle = os.fork()
        if middle == 0:
            orphan = os.fork()
            if orphan == 0:
                time.sleep(0.2)
                os._exit(0)
            os.write(write, str(orphan).encode())
            os._exit(0)
        os.waitpid(middle, 0)
        left.append(int(os.read(read, 32)))
        os.close(read)
        os.close(write)
    return JsonResponse({"orphans": left})


def writes(request: HttpRequest) -> HttpResponse:
    """Whether the root can be written."""
    try:
        with open("/app/written", "w") as file:
            file.write("x")
    except OSError as error:
        return JsonResponse({"root": error.strerror})
    return JsonResponse({"root": "written"})


urlpatterns = [
    path("release/", release),
    path("hoard/", hoard),
    path("orphans/<int:count>/", orphans),
    path("writes/", writes),
    path("", include("django_site.urls")),
]
