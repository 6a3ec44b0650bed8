"""A real Prometheus with its own folder and port, asked over its API."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from scripts.monitoring import FOLDER, RULES
from tests.system.process import free_port

PROMETHEUS = shutil.which("prometheus")
INTERVAL, STARTING = "200ms", 503


class Prometheus:
    """A running Prometheus, asked over its API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer; None while it does not answer."""
        try:
            with self._open(f"{self.url}{path}?{urlencode(parameters)}", timeout=10) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as error:
            if error.code == STARTING:
                return None
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        except OSError:
            return None

    def query(self, query: str) -> list[dict[str, Any]]:
        """Return the series of an instant query."""
        found = self.ask("/api/v1/query", query=query)
        return found["result"] if found else []

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        found = self.ask("/api/v1/alerts") or {"alerts": []}
        return {one["labels"]["alertname"] for one in found["alerts"] if one["state"] == "firing"}


def shipped() -> dict[str, Any]:
    """Return the shipped scrape configuration, with the intervals of a test."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yaml").read_text("utf-8"))
    config["global"] = {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}
    return config


@contextmanager
def watching(folder: Path, config: dict[str, Any]) -> Iterator[Prometheus]:
    """Start a Prometheus with a folder and a port of its own."""
    config["rule_files"] = [str(folder / "rules.yaml")]
    (folder / "prometheus.yaml").write_text(json.dumps(config))
    text = re.sub(r"for: \d+[mh]", "for: 0s", RULES.read_text("utf-8"))
    (folder / "rules.yaml").write_text(text)
    address = f"127.0.0.1:{free_port()}"
    log = folder / "prometheus.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                PROMETHEUS or "",
                f"--config.file={folder}/prometheus.yaml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={address}",
            ],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            cwd=folder,
        )
    try:
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        process.wait(30)
