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
ONLY_DOCUMENTED = "subscriptions_destroy"
"""Never allowed: there is nothing to generate for it."""


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
        figures = (
            f"{self.seed:>6}{self.operations:>12}{self.requests:>10}{self.seconds:>9.0f}  {self.found or 'nothing'}"
        )
        return figures if not self.found else f"{figures}\n{self.output}"


def fuzz(service: Service, *, seed: int, examples: int, chains: int, phases: Sequence[str] = PHASES) -> Round:
    """Send it: so many requests that are made up for each operation, so many chains of requests in all."""
    report, settings = service.folder / f"report-{seed}.json", service.folder / "schemathesis.toml"
    settings.write_text(
        f"generation.max-examples = {examples}\nphases.stateful.generation.max-examples = {chains}\n", encoding="utf-8"
    )
    finished = subprocess.run(
        [
            *(COMMAND, "--config-file", settings, "run", f"{service.url}/openapi.json", "--url", service.url),
            *("--header", f"Authorization: Bearer {service.key}", "--exclude-operation-id", ONLY_DOCUMENTED),
            *("--checks", "all", "--mode", "all", "--phases", ",".join(phases), "--continue-on-failure", "--no-color"),
            *("--seed", str(seed), "--generation-database", "none"),
            *("--suppress-health-check", "all", "--warnings", "off"),
            *("--report-json-path", report),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", OWN_KEY: str(service.key_id)},
        capture_output=True,
        text=True,
        check=False,
    )
    output = finished.stdout + finished.stderr
    if not report.exists():
        raise RuntimeError(output)
    said = json.loads(report.read_text())
    cases = said["test_cases"]
    found = cases["unique_failures"] + cases["errored"] or int(finished.returncode != 0)
    return Round(seed, said["operations"]["tested"], cases["generated"], said["running_time"], found, output)
