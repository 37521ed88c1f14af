"""Notes in Django's admin."""

from django.contrib import admin

from django_site.board.models import Note


@admin.register(Note)
class NoteAdmin(admin.ModelAdmin):
    list_display = ("title", "created")
    search_fields = ("title",)
