"""What Helm's own linters and those of Kubernetes say."""

import json

import kubernetes_validate
import pytest
import yaml

from charts import helm

#: Kinds whose definitions are not Kubernetes' own.
OTHERS = {"PodMonitor", "PrometheusRule", "HTTPRoute"}


@pytest.mark.parametrize("major", helm.MAJORS)
@pytest.mark.parametrize(("chart", "values"), helm.SCENARIOS, ids=helm.SCENARIO_IDS)
def test_lint_is_content(major, chart, values):
    helm.run(major, "lint", "--strict", helm.CHARTS / chart, "--values", values)


#: The oldest that the charts are for, and the newest that the validator knows.
VERSIONS = ("1.30", kubernetes_validate.latest_version())


@pytest.mark.parametrize(("chart", "values"), helm.SCENARIOS, ids=helm.SCENARIO_IDS)
def test_objects_are_what_kubernetes_knows(chart, values):
    for version in VERSIONS:
        for one in helm.objects(helm.template(4, chart, "--values", values)):
            if one["kind"] not in OTHERS:
                kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("chart", helm.NAMES)
def test_artifact_hub_annotations_are_readable(chart):
    about = yaml.safe_load((helm.CHARTS / chart / "Chart.yaml").read_text())
    for name, text in about["annotations"].items():
        assert isinstance(text, str), name
        if text.startswith("- "):
            assert isinstance(yaml.safe_load(text), list), name
    images = yaml.safe_load(about["annotations"].get("artifacthub.io/images", "[]"))
    for image in images:
        assert image["image"].endswith(f":{about['appVersion']}"), "the image's version is the chart's"


def test_charts_have_the_version_of_the_server():
    versions = set()
    for chart in helm.NAMES:
        about = yaml.safe_load((helm.CHARTS / chart / "Chart.yaml").read_text())
        versions |= {about["version"], about["appVersion"]}
    cargo = (helm.ROOT / "Cargo.toml").read_text()
    (version,) = versions
    assert f'\nversion = "{version}"\n' in cargo


@pytest.mark.parametrize("chart", helm.NAMES)
def test_nothing_needless_is_in_the_package(chart, tmp_path):
    """The schema and the README are shipped, the ci values and golden files are not secret either way; but no junk."""
    helm.run(4, "package", helm.CHARTS / chart, "--destination", tmp_path)
    (package,) = tmp_path.glob("*.tgz")
    shown = helm.run(4, "show", "values", package).stdout
    assert yaml.safe_load(shown) == yaml.safe_load((helm.CHARTS / chart / "values.yaml").read_text())
    assert json.loads((helm.CHARTS / chart / "values.schema.json").read_text())["additionalProperties"] is False
    assert package.stat().st_size < 100_000
