"""The Django site's settings, but for its pages."""

from django_site.settings import *  # noqa: F403

ROOT_URLCONF = "pages_in_a_pod"
