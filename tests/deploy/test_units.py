"""The units in deploy/, looked at by systemd's own tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
WORKER = DEPLOY / "paperround-worker.service"
SERVICES = [DEPLOY / "paperround.service", DEPLOY / "paperround-run-due.service", WORKER]
UNITS = [*SERVICES, DEPLOY / "paperround-run-due.timer"]
HIGHEST_EXPOSURE = 2.5

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def settings(unit: Path) -> dict[str, list[str]]:
    """What a unit sets, in order; an option may stand more than once."""
    found = defaultdict(list)
    for line in unit.read_text(encoding="utf-8").splitlines():
        if not line.startswith(("#", "[")) and "=" in line:
            name, _, value = line.partition("=")
            found[name].append(value)
    return dict(found)


def sandbox(unit: Path) -> list[str]:
    text = unit.read_text(encoding="utf-8")
    lines = text[text.index("# --- the sandbox") : text.index("# --- end of the sandbox")].splitlines()
    return [line for line in lines if not line.startswith("#")]


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_systemd_finds_little_exposed(unit: Path) -> None:
    analysis = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(unit)], capture_output=True, text=True, check=True
    )

    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", analysis.stdout)
    assert exposure is not None, analysis.stdout
    assert float(exposure[1]) <= HIGHEST_EXPOSURE


@needs_systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    binary = tmp_path / "paperround"
    celery = tmp_path / "celery"
    for each in (binary, celery):
        each.touch(mode=0o755)
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8")
        text = text.replace("/opt/paperround/bin/paperround", str(binary)).replace(
            "/opt/paperround/bin/celery", str(celery)
        )
        (tmp_path / unit.name).write_text(text, encoding="utf-8")

    verified = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / unit.name) for unit in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_all_services_live_in_the_same_sandbox() -> None:
    first, *others = map(sandbox, SERVICES)

    assert others == [first] * 2
    assert len(first) > 20


def test_all_services_share_their_files_and_settings() -> None:
    shared = [
        "DynamicUser",
        "User",
        "StateDirectory",
        "StateDirectoryMode",
        "WorkingDirectory",
        "UMask",
        "EnvironmentFile",
    ]
    first, *others = ({name: settings(each)[name] for name in shared} for each in SERVICES)

    assert others == [first] * 2


def test_the_chart_renderer_may_compile() -> None:
    for unit in SERVICES:
        assert "MemoryDenyWriteExecute" not in settings(unit)
        assert "@pkey" in settings(unit)["SystemCallFilter"]


def test_a_stopped_daemon_has_longer_than_its_sends_take() -> None:
    daemon = settings(SERVICES[0])

    assert int(daemon["TimeoutStopSec"][0]) > 30
    assert daemon["KillMode"] == ["mixed"]
    assert daemon["Type"] == ["notify"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_operators_page_installs_every_unit(unit: Path) -> None:
    assert unit.name in (DEPLOY / "README.md").read_text(encoding="utf-8")
