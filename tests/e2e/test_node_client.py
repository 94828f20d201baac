"""PostHog's own client, in TypeScript and generated from PostHog's OpenAPI, works against this service unchanged.

Needs Node.js and npm; npm fetches the client once, at exact versions, into pytest's cache. Where either is missing, or
nothing can be fetched, the test is skipped and says why.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Installation
from tests.e2e.test_service import ON_SQLITE, inside, prepared, serve

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).parent / "node" / "reference_client.cjs"
PACKAGES = {"@posthog/agent-toolkit": "0.2.4", "zod": "3.25.76", "uuid": "11.1.0"}
"""The client, and all that its API part imports."""


@pytest.fixture(scope="session")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """A folder with the unpacked packages, kept between runs."""
    if missing := [each for each in ("node", "npm") if shutil.which(each) is None]:
        pytest.skip(f"{' and '.join(missing)} not found: PostHog's own client needs Node.js and npm")
    kept = Path(request.config.cache.mkdir("node-client")) / "-".join(PACKAGES.values())  # type: ignore[union-attr]
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            _fetch_into(Path(folder)).rename(kept)  # whole, or not there
    return kept


def _fetch_into(folder: Path) -> Path:
    specs = [f"{name}@{version}" for name, version in PACKAGES.items()]
    command = ["npm", "pack", "--silent", "--fetch-retries=1", "--fetch-timeout=30000", *specs]
    if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"npm pack could not fetch {', '.join(specs)}; is this machine offline?")
    for name, version in PACKAGES.items():
        archive = folder / f"{name.strip('@').replace('/', '-')}-{version}.tgz"
        unpacked = folder / "modules" / name
        unpacked.mkdir(parents=True)
        subprocess.run(["tar", "-xzf", archive, "-C", unpacked, "--strip-components=1"], check=True)
    return folder / "modules"


async def run_client(installation: Installation, node_modules: Path, **given: Any) -> Any:
    """Let the script do its steps; what each answered."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["node", str(SCRIPT)],
        input=json.dumps(given),
        env=os.environ | {"NODE_PATH": str(node_modules)},
        cwd=installation.folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@ON_SQLITE
async def test_posthogs_own_client_lists_creates_retrieves_patches_puts_removes_and_tests(
    installation: Installation, node_modules: Path
) -> None:
    insight = await prepared(installation)
    async with inside(installation) as app:
        project = await app.project()
        _, key = await app.keys.create(await app.owner(project), name="Client", scopes=["*"])
    service = await serve(installation)

    did = await run_client(installation, node_modules, url=await service.url(""), key=key, insight=insight)

    _knows_where_it_is(did, project.id)
    _reads_what_it_wrote(did, insight)
    _sees_what_was_sent(did)
    assert [mail.recipients for mail in installation.smtp.mails] == [("ann@example.org",)] * 2
    assert await service.stop() == 0


def _knows_where_it_is(did: dict[str, Any], project_id: int) -> None:
    organization = did["state"]["organizationId"]
    assert did["state"]["projectId"] == project_id
    assert did["organizations"] == [did["organization"]]
    assert did["organization"]["id"] == organization
    assert did["projects"] == [did["project"]]
    assert (did["project"]["id"], did["project"]["organization"]) == (project_id, organization)
    assert [each["name"] for each in did["insights"]] == ["Sales"]


def _reads_what_it_wrote(did: dict[str, Any], insight: int) -> None:
    created = did["created"]
    assert (created["insight"], created["title"], created["invite_message"]) == (insight, "Sales", None)
    assert created["next_delivery_date"] == "2100-01-04T09:00:00Z"
    assert did["listed"] == {"count": 1, "next": None, "previous": None, "results": [created]}
    assert did["retrieved"] == created
    assert did["patched"] == created | {"interval": 2, "summary": did["patched"]["summary"]}
    assert did["put"] == did["patched"] | {"title": "Sales, every fortnight"}
    assert did["removed"] == did["put"] | {"deleted": True}
    assert did["left"]["results"] == []
    assert [each.split(" {")[0] for each in did["refused"]] == [
        "Failed request: [405]",
        "Failed request: [404]",
        "Failed request: [400]",
    ]


def _sees_what_was_sent(did: dict[str, Any]) -> None:
    assert did["tested"] == [202, None]
    deliveries = did["deliveries"]["results"]
    assert [(each["trigger_type"], each["status"]) for each in deliveries] == [
        ("manual", "completed"),
        ("target_change", "completed"),
    ]
    assert did["delivery"] == deliveries[0]
