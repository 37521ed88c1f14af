"""Waits at the test's gate in its import."""

import gate_client

gate_client.pause("import")

from hello import application  # noqa: E402
