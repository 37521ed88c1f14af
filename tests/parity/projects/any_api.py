"""A base image's: all from the environment, and said on standard output."""

import json
import multiprocessing
import os

per_core = float(os.getenv("WORKERS_PER_CORE", "1"))
most = os.getenv("MAX_WORKERS")
wanted = os.getenv("WEB_CONCURRENCY")
workers = int(wanted) if wanted else max(int(per_core * multiprocessing.cpu_count()), 2)
if most:
    workers = min(workers, int(most))
bind = os.getenv("BIND") or f"{os.getenv('HOST', '127.0.0.1')}:{os.getenv('API_PORT', '80')}"
loglevel = os.getenv("LOG_LEVEL", "info")
accesslog = os.getenv("ACCESS_LOG", "-") or None
errorlog = os.getenv("ERROR_LOG", "-") or None
worker_tmp_dir = "/dev/shm"
worker_class = os.getenv("WORKER_CLASS", "uvicorn.workers.UvicornWorker")
graceful_timeout = int(os.getenv("GRACEFUL_TIMEOUT", "120"))
timeout = int(os.getenv("TIMEOUT", "120"))
keepalive = int(os.getenv("KEEP_ALIVE", "5"))

print(
    json.dumps(
        {"loglevel": loglevel, "workers": workers, "bind": bind, "worker_class": worker_class, "timeout": timeout}
    )
)
