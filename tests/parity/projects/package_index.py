"""A package index's: behind a proxy on the same machine, with the client's hashed address in the access log."""

import os

bind = f"unix:{os.environ['INDEX_SOCKET']}"
backlog = 2048
preload_app = True
max_requests = 2048
max_requests_jitter = 128

worker_connections = 1000
timeout = 60
keepalive = 2

errorlog = "-"
loglevel = "info"
accesslog = "-"
access_log_format = '%({Index-Hashed-IP}i)s %(l)s %(u)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'

statsd_host = os.environ["INDEX_STATSD"]

control_socket_disable = True
