"""GET / lists the newest notes, POST / writes one."""

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_http_methods

from notes.models import Note


@require_http_methods(["GET", "POST"])
def notes(request: HttpRequest) -> JsonResponse:
    if request.method == "POST":
        note = Note.objects.create(text=request.body.decode()[:200])
        return JsonResponse({"id": note.id}, status=201)
    return JsonResponse({"notes": list(Note.objects.order_by("-id").values("id", "text")[:20])})


urlpatterns = [path("", notes)]
