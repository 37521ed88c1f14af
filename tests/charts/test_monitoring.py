"""Alerts and dashboard: valid for Prometheus, and about metrics that the server really has."""

import json
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml
from podtest.ports import free_port
from podtest.server import program_path
from podtest.waiting import wait_until

from charts import helm

FILES = helm.CHARTS / "podicorn-operator" / "files"
HELLO = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"
#: Only where the kernel or a CPU quota brings them; server/arbiter/src/telemetry/metrics.rs has their names.
SOMETIMES = {"psi_memory", "psi_cpu", "cgroup_periods", "cgroup_throttled_periods", "cgroup_memory"}
METRIC = re.compile(r"\bpodicorn_[a-z_]+")


def _expressions() -> dict[str, str]:
    """Every query, by where it is."""
    found = {}
    for group in yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            found[rule.get("alert") or rule["record"]] = rule["expr"]
    board = json.loads((FILES / "dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            found[f"{panel['title']} ({target['refId']})"] = target["expr"]
    for annotation in board["annotations"]["list"]:
        found[annotation["name"]] = annotation["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found[variable["name"]] = variable["definition"]
    return found


@pytest.fixture(scope="module")
def exposed(tmp_path_factory):
    """What /metrics of a real server shows, after a request."""
    directory = tmp_path_factory.mktemp("metrics")
    (directory / "shop.py").write_text(HELLO)
    port, admin = free_port(), free_port()
    arguments = ["--bind", f"127.0.0.1:{port}", "--admin-bind", f"127.0.0.1:{admin}", "--workers=1..2", "shop:app"]
    with (directory / "log").open("w") as log:
        server = subprocess.Popen([program_path(), *arguments], cwd=directory, stdout=log, stderr=log)
    try:
        wait_until(lambda: _text(f"http://127.0.0.1:{admin}/readyz"), lambda: (directory / "log").read_text())
        _text(f"http://127.0.0.1:{port}/")
        # Its decisions are counted from the first one on.
        decided = "podicorn_scale_decisions_total"
        wait_until(lambda: decided in _text(f"http://127.0.0.1:{admin}/metrics"), "the first decision", every=0.2)
        yield _text(f"http://127.0.0.1:{admin}/metrics")
    finally:
        server.terminate()
        server.wait()


def _text(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def _promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _operator_source() -> str:
    return "".join(path.read_text() for path in sorted((helm.ROOT / "operator" / "src").rglob("*.rs")))


def test_queries_are_about_metrics_that_exist(exposed):
    names = set(re.findall(r"(?m)^(podicorn_[a-z_]+)", exposed))
    source = (helm.ROOT / "server" / "arbiter" / "src" / "telemetry" / "metrics.rs").read_text()
    for short in SOMETIMES:
        assert f'"{short}"' in source, f"{short} is in the source"
        names |= {f"podicorn_{short}{end}" for end in ("_total", "_seconds_total", "_bytes")}
    operator = _operator_source()
    for where, expression in _expressions().items():
        for name in METRIC.findall(expression.replace("app:podicorn_capacity_utilization:percent", "")):
            if name.startswith("podicorn_operator_"):
                # Nothing of the operator runs here; its source says under which names it registers.
                short = re.sub(r"(_total|_bucket)$", "", name.removeprefix("podicorn_operator_"))
                assert f'"{short}"' in operator or f'"{short.removesuffix("_seconds")}"' in operator, f"{where}: {name}"
            else:
                assert name in names, f"{where}: {name}"


def test_queries_ask_for_labels_that_exist(exposed):
    """A label's value in a query is one that the server gives; only of closed lists."""
    operator = _operator_source()
    for where, expression in _expressions().items():
        for label, comparison, value in re.findall(r'\b(\w+)(=~|!=|=)"([^"$]*)"', expression):
            values = set(re.findall(rf'\b{label}="([^"]*)"', exposed))
            # Without a memory limit there is none in the metrics.
            values |= {"limit", "unreclaimable"} if label == "kind" else set()
            for one in value.split("|") if comparison == "=~" else [value]:
                known = f'"{one}"' in operator if "podicorn_operator_" in expression else one in values
                assert known, f"{where}: {label}={one}, not of {sorted(values)}"


def test_rules_are_valid():
    _promtool("check", "rules", FILES / "alerts.yaml")


def test_dashboard_queries_are_valid(tmp_path):
    """promtool reads queries of rules only; so each panel's becomes one, with its variables filled in."""
    rules = []
    for number, expression in enumerate(_expressions().values()):
        if expression.startswith("label_values("):
            continue
        filled = expression.replace("$__rate_interval", "1m").replace("$namespace", ".*").replace("$job", ".*")
        rules.append({"record": f"panel_{number}", "expr": filled.replace("$pod", ".*")})
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    _promtool("check", "rules", path)


def test_alerts_fire_when_they_should():
    """tests/charts/alerts-test.yaml: series in, alerts out."""
    _promtool("test", "rules", helm.ROOT / "tests" / "charts" / "alerts-test.yaml")


def test_every_alert_is_tested_both_ways():
    """Each one has a case in which it fires, and one in which it does not."""
    cases = yaml.safe_load((helm.ROOT / "tests" / "charts" / "alerts-test.yaml").read_text())["tests"]
    fires, stays = set(), set()
    for case in cases:
        for check in case["alert_rule_test"]:
            (fires if check.get("exp_alerts") else stays).add(check["alertname"])
    groups = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert fires == alerts
    assert stays == alerts


def test_dashboard_has_no_overlapping_panels():
    board = json.loads((FILES / "dashboard.json").read_text())
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                assert x < 24
                taken[x, y] = panel["title"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
