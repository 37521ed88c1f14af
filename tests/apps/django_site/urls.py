"""Where everything is."""

from django.contrib import admin
from django.urls import path

from django_site.board import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", views.index),
    path("notes/", views.notes),
    path("upload/", views.upload),
    path("uploads/<int:number>/", views.download),
    path("visits/", views.visits),
    path("who/", views.who),
    path("held/<str:label>/", views.held),
    path("fail/", views.fail),
]
