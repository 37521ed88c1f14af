"""The charts' READMEs have the tables that dev/chart-readme.py makes."""

import subprocess
import sys

import pytest

from charts import helm


def test_tables_are_up_to_date():
    script = helm.ROOT / "dev" / "chart-readme.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("chart", helm.NAMES)
def test_tables_have_every_value(chart):
    readme = (helm.CHARTS / chart / "README.md").read_text()
    for line in (helm.CHARTS / chart / "values.yaml").read_text().splitlines():
        key = line.strip().lstrip("#").partition(":")[0]
        if line[:1].isalpha():
            assert f"| `{key}" in readme, key
