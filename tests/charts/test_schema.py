"""Values that are refused, with a message that names the key; and that schema and values.yaml have the same keys."""

import json
import re

import pytest
import yaml

from charts import helm

NEEDED = {
    "podicorn": {"image": {"repository": "r", "tag": "1"}, "app": "a:b"},
    "podicorn-operator": {},
    "podicorn-crds": {},
}


@pytest.mark.parametrize("major", helm.MAJORS)
@pytest.mark.parametrize(
    ("chart", "values", "words"),
    [
        ("podicorn", {"replica": 2}, ["replica"]),
        ("podicorn", {"settings": {"worker": 2}}, ["/settings", "worker"]),
        ("podicorn", {"settings": {"workers": "many"}}, ["/settings/workers", "many"]),
        ("podicorn", {"settings": {"workers": 0}}, ["/settings/workers"]),
        ("podicorn", {"settings": {"workers": "4.."}}, ["/settings/workers"]),
        ("podicorn", {"settings": {"preload_app": "yes"}}, ["/settings/preload_app"]),
        ("podicorn", {"settings": {"header_map": "keep"}}, ["/settings/header_map"]),
        ("podicorn", {"settings": {"raw_env": ["NOVALUE"]}}, ["/settings/raw_env"]),
        ("podicorn", {"settings": {"body_buffer": "1 MB"}}, ["/settings/body_buffer"]),
        ("podicorn", {"settings": {"timeout": -1}}, ["/settings/timeout"]),
        ("podicorn", {"settings": {"bind": "0.0.0.0:80"}}, ["/settings", "bind"]),
        ("podicorn", {"image": {"repo": "r"}}, ["/image", "repo"]),
        ("podicorn", {"image": {"digest": "latest"}}, ["/image/digest"]),
        ("podicorn", {"image": {"tag": 1.10}}, ["/image/tag"]),
        ("podicorn", {"autoscaling": {"metric": "memory"}}, ["/autoscaling/metric"]),
        ("podicorn", {"probes": {"readiness": {"path": "/"}}}, ["/probes/readiness", "path"]),
        ("podicorn", {"podDisruptionBudget": {"minAvailable": "half"}}, ["/podDisruptionBudget/minAvailable"]),
        ("podicorn", {"migrations": {"command": "migrate"}}, ["/migrations/command"]),
        ("podicorn-operator", {"watchNamespace": ["a"]}, ["watchNamespace"]),
        ("podicorn-operator", {"watchNamespaces": "a"}, ["/watchNamespaces"]),
        ("podicorn-operator", {"otel": {"endpoint": "collector:4318"}}, ["/otel/endpoint"]),
        ("podicorn-operator", {"tickSeconds": 0}, ["/tickSeconds"]),
        ("podicorn-operator", {"metrics": {"podMonitor": {"intervall": "30s"}}}, ["/metrics/podMonitor", "intervall"]),
        ("podicorn-crds", {"kept": True}, ["kept"]),
    ],
    ids=str,
)
def test_typos_are_refused_by_name(major, chart, values, words, tmp_path):
    message = helm.refused(major, chart, _merged(NEEDED[chart], values), tmp_path)
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("major", helm.MAJORS)
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image": {"repository": ""}}, "image.repository is required"),
        ({"image": {"tag": ""}}, "image.tag is required"),
        ({"configFile": "x = 1", "settings": {"config": "/etc/x.py"}}, "configFile and settings.config"),
        ({"autoscaling": {"enabled": True}, "externalAutoscaler": True}, "choose one"),
        ({"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}}, "minReplicas is above"),
        ({"migrations": {"enabled": True}}, "migrations.command is empty"),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs is empty"),
        ({"ingress": {"enabled": True}, "service": {"enabled": False}}, "ingress.enabled needs service.enabled"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(major, values, words, tmp_path):
    assert words in helm.refused(major, "podicorn", _merged(NEEDED["podicorn"], values), tmp_path)


@pytest.mark.parametrize("chart", helm.NAMES)
def test_schema_and_values_have_the_same_keys(chart):
    directory = helm.CHARTS / chart
    text = (directory / "values.yaml").read_text()
    # A commented key is one that the user may set: its line without the sign is the value it has by default.
    values = yaml.safe_load(re.sub(r"(?m)^( +)#([a-z0-9_]+: )", r"\1\2", text))
    schema = json.loads((directory / "values.schema.json").read_text())
    _compare(values, schema, schema["definitions"], "")


def _compare(values: dict, schema: dict, definitions: dict, path: str) -> None:
    known = set(schema["properties"]) - {"global"}
    # What a probe or a resource has beyond the defaults.
    optional = {"successThreshold", "initialDelaySeconds", "claims", "limits", "requests", "scaleUp"}
    assert set(values) <= known and known - set(values) <= optional, f"{path}: {known ^ set(values)}"
    for key, value in values.items():
        below = schema["properties"][key]
        if isinstance(value, dict) and "properties" in below:
            assert below["additionalProperties"] is False, f"{path}.{key} takes any key"
            _compare(value, below, definitions, f"{path}.{key}")


def _merged(base: dict, over: dict) -> dict:
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result
