"""The one page."""

from django.shortcuts import render
from django.urls import path

from django_page.models import Note


def notes(request):
    return render(request, "notes.html", {"notes": Note.objects.order_by("-written")[:20]})


urlpatterns = [path("", notes)]
