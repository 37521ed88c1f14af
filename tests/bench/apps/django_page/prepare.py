"""Makes the database: a hundred notes, one a day. ``python -m django_page.prepare``"""

import os
from datetime import datetime, timedelta, timezone

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_page.settings")


def main() -> None:
    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from django_page.models import Note

    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Note)
    first = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    Note.objects.bulk_create(Note(title=f"note <{day}>", written=first + timedelta(days=day)) for day in range(100))


if __name__ == "__main__":
    main()
