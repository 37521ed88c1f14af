"""Worker classes as users write them: subclasses of Gunicorn's."""

import os
import signal

from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import ThreadWorker
from gunicorn.workers.sync import SyncWorker


class Sync(SyncWorker):
    """Gunicorn's, unchanged."""


class Threads(ThreadWorker):
    """Gunicorn's, unchanged."""


class Told(SyncWorker):
    """Says on stderr what its life is."""

    def say(self, text):
        os.write(2, f"class: {text} in {os.getpid()}\n".encode())

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.say(f"made, age {self.age}, timeout {self.timeout}")

    @classmethod
    def check_config(cls, cfg, log):
        log.info("class: check_config %s", cfg.threads)

    def init_process(self):
        self.say(f"init_process, booted {self.booted}")
        super().init_process()

    def init_signals(self):
        super().init_signals()
        self.say("init_signals")

    def load_wsgi(self):
        self.say("load_wsgi")
        super().load_wsgi()

    def run(self):
        self.say(f"run, booted {self.booted}")
        super().run()
        self.say("run returns")


class Fails(SyncWorker):
    """Raises where the environment says."""

    def fail_in(self, place):
        if os.environ["FAILS_IN"] == place:
            raise RuntimeError(f"no {place} today")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fail_in("init")

    def init_process(self):
        self.fail_in("init_process")
        super().init_process()

    def run(self):
        self.fail_in("run")
        super().run()

    def handle(self, listener, client, addr):
        super().handle(listener, client, addr)
        self.fail_in("service")


class Careless(SyncWorker):
    """Leaves its signals at their defaults, as classes on event loops do until the loop runs."""

    def init_signals(self):
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)


class Seen(SyncWorker):
    """Answers /seen with what Gunicorn's arbiter gives to its workers."""

    def handle(self, listener, client, addr):
        import json

        text = client.recv(65536)
        body = json.dumps(self.seen(listener)).encode()
        if not text.startswith(b"GET /seen "):
            body = b"null"
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        client.close()

    def seen(self, listener):
        cfg = self.cfg
        self.tmp.notify()
        os.set_blocking(self.tmp.fileno(), False)
        return {
            "types": [type(thing).__name__ for thing in (cfg, *self.sockets)],
            "str": [str(socket) for socket in self.sockets],
            "cfg_addr": [socket.cfg_addr for socket in self.sockets],
            "family": [int(socket.FAMILY) for socket in self.sockets],
            "name": [socket.getsockname() for socket in self.sockets],
            "fds": [os.get_inheritable(socket.fileno()) for socket in self.sockets],
            "blocking": [socket.getblocking() for socket in self.sockets],
            "conf": [socket.conf is cfg for socket in self.sockets],
            "listener": str(listener),
            "timeout": self.timeout,
            "max_requests": self.max_requests,
            "alive": self.alive,
            "booted": self.booted,
            "parent": self.ppid == os.getppid(),
            "is_ssl": bool(cfg.is_ssl),
            "address": cfg.address,
            "worker_class": cfg.worker_class is type(self),
            "worker_class_str": cfg.worker_class_str,
            "env": cfg.env,
            "settings": {
                name: setting.get() if isinstance(setting.get(), (int, str, list, dict, type(None))) else "object"
                for name, setting in cfg.settings.items()
            },
            "app": [callable(getattr(self.app, name)) for name in ("wsgi", "load", "reload", "callable")],
            "app_cfg": self.app.cfg is cfg,
            "loaded": self.app.wsgi() is self.wsgi and self.app.callable is self.wsgi,
            "log": [
                callable(getattr(self.log, name)) for name in ("access", "atoms", "now", "exception", "close_on_exec")
            ],
            "log_cfg": self.log.cfg is cfg,
            "access_log_enabled": self.log.access_log_enabled,
            "tmp": [self.tmp.last_update() > 0, self.tmp.fileno() > 2],
            "string": str(self) == f"<Worker {os.getpid()}>",
        }


class Nobody:
    """No worker."""


class Abstract(Worker):
    """No loop."""
