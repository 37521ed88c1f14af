"""What the site keeps."""

from django.db import models


class Note(models.Model):
    """A line of text on the board."""

    title = models.CharField(max_length=200)
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.title


class Upload(models.Model):
    """An uploaded file, kept in the database."""

    name = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    content = models.BinaryField()
