"""What each chart renders for each of its ci values, compared with golden files. UPDATE=1 writes them."""

import os
import re

import pytest

from charts import helm

GOLDEN = helm.ROOT / "tests" / "charts" / "golden"


@pytest.mark.parametrize(("chart", "values"), helm.SCENARIOS, ids=helm.SCENARIO_IDS)
def test_rendered_as_kept(chart, values):
    rendered = {major: helm.template(major, chart, "--values", values) for major in helm.MAJORS}
    assert rendered[3] == rendered[4], "both majors render the same"
    golden = GOLDEN / chart / values.name.replace("-values", "")
    # The definitions are kept elsewhere, word for word; here only that they are there.
    text = re.sub(r"(?s)(\nkind: CustomResourceDefinition\n.*?\nspec:\n).*?(?=\n---|\Z)", r"\1  …", rendered[4])
    if os.environ.get("UPDATE"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert golden.exists() and golden.read_text() == text, "look at the difference; UPDATE=1 make charts writes it"


def test_no_golden_file_is_left_over():
    kept = {path.relative_to(GOLDEN).as_posix() for path in GOLDEN.rglob("*.yaml")}
    assert kept == {f"{chart}/{values.name.replace('-values', '')}" for chart, values in helm.SCENARIOS}
