"""A Prometheus (Debian's package) that scrapes one server, with a data directory that goes with it."""

import json
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from podtest.ports import free_port
from podtest.waiting import wait_until


class Prometheus:
    """Use as a context manager."""

    def __init__(self, target: str, interval: str = "1s", rules: Path | None = None) -> None:
        program = shutil.which("prometheus")
        assert program, "prometheus is not on PATH: install the Debian package prometheus"
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="podicorn-prometheus-")
        place = Path(self._directory.name)
        config = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "scrape_configs": [{"job_name": "podicorn", "static_configs": [{"targets": [target]}]}],
            "rule_files": [str(rules)] if rules else [],
        }
        # Every JSON text is a YAML text.
        (place / "prometheus.yml").write_text(json.dumps(config))
        self._log = place / "log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [
                    program, f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> "Prometheus":
        wait_until(lambda: self.ask("status/buildinfo") or not self.running(), "Prometheus answers")
        assert self.running(), f"Prometheus has ended:\n{self._log.read_text()}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._directory.cleanup()

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ask(self, path: str) -> Any:
        """Its HTTP API, below /api/v1/; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=5) as response:
                return json.load(response)["data"]
        except OSError:
            return None

    def value(self, query: str) -> float | None:
        """The first sample that a query finds."""
        found = self.ask("query?" + urllib.parse.urlencode({"query": query}))
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    def graph(self, *queries: str) -> str:
        """The address of a page that draws these."""
        parts: dict[str, str] = {}
        for number, query in enumerate(queries):
            parts |= {f"g{number}.expr": query, f"g{number}.tab": "0", f"g{number}.range_input": "5m"}
        return f"http://127.0.0.1:{self.port}/graph?{urllib.parse.urlencode(parts)}"
