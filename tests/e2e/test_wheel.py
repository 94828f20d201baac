"""The wheel, installed into an empty environment and run from another folder: whatever it needs travels with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]


def run(*command: str | Path, folder: Path) -> str:
    """What it prints; nothing of this environment reaches it."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("PAPERROUND_", "PYTHON", "VIRTUAL"))
    }
    finished = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, REPOSITORY)
    run(sys.executable, *build, folder=folder)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_carries_templates_migrations_and_types_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())

    expected = {
        str(path.relative_to(REPOSITORY))
        for folder in ("scheduler", "channels", "templates")
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected - packed == set()
    assert {name.split("/")[0] for name in packed if ".dist-info/" not in name} == {
        "scheduler",
        "channels",
        "templates",
    }
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in packed)


def test_installed_alone_it_works_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    environment, elsewhere = tmp_path / "environment", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(sys.executable, "-m", "venv", environment, folder=tmp_path)
    pip = ("-m", "pip", "install", "--quiet", "--no-compile", "--constraint", REPOSITORY / "constraints.txt", wheel)
    run(environment / "bin" / "python", *pip, folder=elsewhere)
    paperround = environment / "bin" / "paperround"

    version = run(paperround, "--version", folder=elsewhere)
    made = run(paperround, "init", folder=elsewhere)
    received = json.loads(run(paperround, "demo", "--json", folder=elsewhere))
    location = run(
        environment / "bin" / "python", "-c", "import scheduler; print(scheduler.__file__)", folder=elsewhere
    )

    assert version.startswith("paperround ")
    assert version.split()[1] in wheel.name
    assert made.startswith("Made sqlite:///paperround.db")
    assert sorted(path.name for path in elsewhere.iterdir() if path.suffix in {".db", ".key"}) == [
        "paperround.db",
        "paperround.key",
    ]
    assert [mail["charts"] for mail in received["email"]] == [3, 3]  # drawn: fonts and renderer came along
    assert [len(each["insights"]) for each in received["webhook"]] == [4]
    assert len(received["slack"]) == 1
    assert Path(location.strip()).is_relative_to(environment)
