"""Starts a thread at import, which a fork after --preload would lose."""

import threading

from hello import application

threading.Thread(target=threading.Event().wait, name="metrics-pusher", daemon=True).start()
