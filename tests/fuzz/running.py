"""One round of schemathesis against a service: what is asked of it, and what it reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.ground import Service
from tests.fuzz.hooks import OWN_KEY

COMMAND = Path(sys.executable).parent / "schemathesis"
REPOSITORY = Path(__file__).parents[2]
PHASES = ("examples", "coverage", "fuzzing", "stateful")
NEVER_ALLOWED = "subscriptions_destroy"
"""In the document as a 405: there is nothing to generate for it."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one seed came to; ``output`` says how to send again what found something."""

    seed: int
    operations: int
    requests: int
    seconds: float
    found: int
    output: str

    def __str__(self) -> str:
        figures = f"{self.seed:>6}{self.operations:>12}{self.requests:>10}{self.seconds:>9.0f}"
        return f"{figures}  {self.found}\n{self.output}" if self.found else f"{figures}  nothing"


def fuzz(service: Service, *, seed: int, examples: int, chains: int, phases: Sequence[str] = PHASES) -> Round:
    """Send it: so many requests that are made up for each operation, so many chains of requests in all."""
    report, settings = service.folder / f"report-{seed}.json", service.folder / "schemathesis.toml"
    settings.write_text(f"generation.max-examples = {examples}\nphases.stateful.generation.max-examples = {chains}\n")
    finished = subprocess.run(
        [
            *(COMMAND, "--config-file", settings, "run", f"{service.url}/openapi.json", "--url", service.url),
            *("--header", f"Authorization: Bearer {service.key}", "--exclude-operation-id", NEVER_ALLOWED),
            *("--checks", "all", "--mode", "all", "--phases", ",".join(phases), "--seed", str(seed)),
            *("--continue-on-failure", "--suppress-health-check", "all", "--generation-database", "none"),
            *("--report-json-path", report, "--warnings", "off", "--no-color"),
        ],
        cwd=service.folder,  # what it remembers of a run ends with it
        env=_environ(service),
        capture_output=True,
        text=True,
        check=False,
    )
    output = finished.stdout + finished.stderr
    return _read(report, output, seed, failed=finished.returncode != 0)


def _environ(service: Service) -> dict[str, str]:
    hooks = {"PYTHONPATH": str(REPOSITORY), "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks"}
    return {**os.environ, **hooks, OWN_KEY: str(service.key_id)}


def _read(report: Path, output: str, seed: int, *, failed: bool) -> Round:
    if not report.exists():
        raise RuntimeError(output)
    said = json.loads(report.read_text())
    cases = said["test_cases"]
    found = cases["unique_failures"] + len(said["errors"])
    return Round(
        seed=seed,
        operations=said["operations"]["tested"],
        requests=cases["generated"],
        seconds=said["running_time"],
        found=found or int(failed),
        output=output,
    )
