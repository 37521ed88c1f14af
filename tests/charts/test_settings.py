"""Settings of the chart reach the server: the real program gets what Helm renders, and prints what is in force."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from podtest.certificates import Authority
from podtest.server import program_path

from charts import helm

HELLO = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"


@pytest.fixture
def directory(tmp_path):
    """A directory with an app and a config file."""
    (tmp_path / "shop.py").write_text(HELLO)
    (tmp_path / "other.py").write_text("backlog = 17\n")
    return tmp_path


def _in_force(directory: Path, values: dict) -> dict[str, str]:
    """Every setting as the server sees it."""
    values = {"image": {"repository": "r", "tag": "1"}, "app": "shop:app", **values}
    path = directory / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    rendered = {major: helm.template(major, "podicorn", "--values", path) for major in helm.MAJORS}
    assert rendered[3] == rendered[4]
    deployment = helm.only(helm.objects(rendered[4]), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PODICORN_", "GUNICORN_"))}
    done = subprocess.run(
        [program_path(), "--print-config", *container["args"]],
        cwd=directory,
        env=environment | {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = (line.partition(" = ") for line in done.stdout.splitlines() if " = " in line)
    return {name.strip(): value for name, _, value in lines}


def test_defaults_are_the_servers_in_a_pod(directory):
    """What values.yaml shows, commented out or not, is what holds."""
    found = _in_force(directory, {})
    values = (helm.CHARTS / "podicorn" / "values.yaml").read_text()
    section = values[values.index("\nsettings:\n") : values.index("\n## End of the settings")]
    shown = _shown(section)
    assert found["workers"] == "1..4"
    assert found["drain_delay"] == "5"
    for name, value in shown.items():
        if value is None or name == "chdir":
            continue
        # A text that the server keeps as a list.
        assert found[name] == (str(value.split(",")) if name == "http_protocols" else str(value)), name


def _shown(section: str) -> dict[str, object]:
    """The settings of values.yaml, with those that are commented out."""
    result = {}
    for line in section.splitlines():
        text = line.strip().lstrip("#")
        if line.startswith("  ") and not line.startswith(("  # ", "  ## ")) and text:
            result |= yaml.safe_load(text)
    return result


def test_every_setting_reaches_the_server(directory):
    """One value for each that is not its default, and what the server makes of it."""
    certificate, key = Authority().issue().write(directory)
    given = {
        "config": (str(directory / "other.py"), None),
        "chdir": (str(directory), None),
        "pythonpath": ("/srv/lib,/srv/more", None),
        "raw_env": (["A=1", "B=two words, a comma"], "['A=1', 'B=two words, a comma']"),
        "preload_app": (True, "True"),
        "python": (str(Path(program_path()).with_name("python")), None),
        "backlog": (16777216, None),
        "proxy_protocol": ("v2", None),
        "proxy_allow_ips": (["10.0.0.0/8", "::1"], "['10.0.0.0/8', '::1']"),
        "logger_class": ("podicorn.glogging.Logger", None),
        "logconfig": ("logging.ini", None),
        "logconfig_json": ("logging.json", None),
        "syslog": (False, "False"),
        "syslog_addr": ("udp://syslog:514", None),
        "syslog_prefix": ("shop", None),
        "syslog_facility": ("local0", None),
        "disable_redirect_access_to_syslog": (True, "True"),
        "reuse_port": (True, "True"),
        "workers": ("2..8", None),
        "scale_down_delay": (2.5, None),
        "worker_class": ("gthread", None),
        "threads": (4, None),
        "worker_connections": (500, None),
        "max_requests": (10000000, None),
        "max_requests_jitter": (1000, None),
        "worker_max_memory": ("300Mi", str(300 << 20)),
        "worker_max_memory_hard": ("1G", str(1 << 30)),
        "max_unavailable": (1, None),
        "asgi_loop": ("asyncio", None),
        "asgi_lifespan": ("off", None),
        "asgi_disconnect_grace_period": (7, None),
        "asgi_eager": (True, "True"),
        "websocket_max_message_size": (33554432, None),
        "ws_ping_interval": (0.5, None),
        "ws_ping_timeout": (0, None),
        "ws_per_message_deflate": (False, "False"),
        "timeout": (31, None),
        "graceful_timeout": (61, None),
        "keepalive": (11, None),
        "boot_timeout": (121, None),
        "head_timeout": (12, None),
        "request_timeout": (13, None),
        "stall_timeout": (14, None),
        "drain_delay": (0, None),
        "accesslog": ("-", None),
        "access_log_format": ('%(h)s "%(r)s" %(s)s', None),
        "errorlog": ("/dev/stderr", None),
        "loglevel": ("debug", None),
        "log_format": ("json", None),
        "capture_output": (True, "True"),
        "limit_request_line": (8000, None),
        "limit_request_fields": (50, None),
        "limit_request_field_size": (4000, None),
        "limit_request_body": ("100m", str(100 << 20)),
        "body_buffer": (1048577, None),
        "body_budget": ("64MiB", str(64 << 20)),
        "min_body_rate": (1000, None),
        "sendfile": (False, "False"),
        "permit_obsolete_folding": (True, "True"),
        "strip_header_spaces": (True, "True"),
        "permit_unconventional_http_method": (True, "True"),
        "permit_unconventional_http_version": (True, "True"),
        "casefold_http_method": (True, "True"),
        "root_path": ("/shop", None),
        "forwarded_allow_ips": (["10.0.0.0/8", "192.168.0.1"], "['10.0.0.0/8', '192.168.0.1']"),
        "forwarder_headers": ("SCRIPT_NAME,X_USER", "['SCRIPT_NAME', 'X_USER']"),
        "header_map": ("refuse", None),
        "user": (os.getuid(), None),
        "group": (os.getgid(), None),
        "initgroups": (True, "True"),
        "umask": ("0o027", str(0o027)),
        "pidfile": (str(directory / "pid"), None),
        "proc_name": ("shop", None),
        "keyfile": (key, None),
        "certfile": (certificate, None),
        "ca_certs": (certificate, None),
        "cert_reqs": (1, None),
        "ciphers": ("ECDHE+AESGCM:!aNULL", None),
        # Gunicorn has no flag that turns it off.
        "suppress_ragged_eofs": (True, "True"),
        "do_handshake_on_connect": (True, "True"),
        "http_protocols": ("h2,h1", "['h2', 'h1']"),
        "http2_cleartext": ("both", None),
        "http2_max_concurrent_streams": (50, None),
        "http2_initial_window_size": (131072, None),
        "http2_max_frame_size": (32768, None),
        "http2_max_header_list_size": (131072, None),
        "statsd_host": ("127.0.0.1:8125", None),
        "statsd_prefix": ("shop", None),
        "dogstatsd_tags": ("team:shop", None),
        "enable_backlog_metric": (True, "True"),
        "slow_request": (2.5, None),
        "app_metrics": (True, "True"),
    }
    schema = json.loads((helm.CHARTS / "podicorn" / "values.schema.json").read_text())
    assert set(given) == set(schema["properties"]["settings"]["properties"]), "one value for each setting"
    found = _in_force(directory, {"settings": {name: value for name, (value, _) in given.items()}})
    wrong = {
        name: (found.get(name), value if expected is None else expected)
        for name, (value, expected) in given.items()
        if found.get(name) != (str(value) if expected is None else expected)
    }
    assert not wrong


def test_null_leaves_a_setting_to_the_server(directory):
    found = _in_force(directory, {"settings": {"workers": None, "drain_delay": None, "threads": None}})
    assert (found["workers"], found["drain_delay"], found["threads"]) == ("1", "0", "1")


def test_ports_and_token_come_from_their_own_values(directory):
    found = _in_force(directory, {"ports": {"http": 8080, "admin": 9999}, "adminToken": {"existingSecret": "token"}})
    assert found["bind"] == "['0.0.0.0:8080']"
    assert found["admin_bind"] == "[::]:9999"
    assert found["admin_token_file"] == "/var/run/podicorn/admin/token"
