"""Makes the database of DJANGO_DB: tables, an administrator, some notes. ``python -m django_site.prepare``"""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_site.settings")

ADMINISTRATOR, PASSWORD = "admin", "correct horse"


def main() -> None:
    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command

    from django_site.board.models import Note

    call_command("migrate", verbosity=0)
    if not User.objects.filter(username=ADMINISTRATOR).exists():
        User.objects.create_superuser(ADMINISTRATOR, "admin@example.org", PASSWORD)
        Note.objects.bulk_create(Note(title=f"note {number}") for number in range(10))


if __name__ == "__main__":
    main()
