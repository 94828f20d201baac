"""Pictures come from a process of their own; whatever becomes of it, the service and its deliveries go on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from scheduler.charts import chart_png, chart_spec
from scheduler.drawing import PNG, framed
from scheduler.pictures import ENVIRONMENT, NotDrawn, Pictures
from scheduler.snapshot import ColumnType, Display, InsightSnapshot, QueryResult
from scheduler.status import DeliveryStatus
from tests.scheduler.conftest import World, settle

PATIENCE = 60
"""Seconds after which a test gives up; none waits for them when all is well."""
CHART = {"data": {"values": [{"x": 1}, {"x": 2}]}, "mark": "point", "encoding": {"x": {"field": "x"}}}
ENDLESS = {**CHART, "transform": [{"calculate": f"test(regexp('^(a+)+$'), '{'a' * 50}b')", "as": "x"}]}
"""More work than a lifetime is long, with no line of Python in between, and no memory."""


def drawers(parent: int | None = None) -> set[int]:
    """The ids of the drawing processes that ``parent`` (else: this process) has."""
    return {int(folder.name) for folder in Path("/proc").glob("[0-9]*") if is_drawer(folder, parent or os.getpid())}


def is_drawer(folder: Path, parent: int) -> bool:
    with suppress(OSError):
        state, ppid = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        return state != "Z" and int(ppid) == parent and b"scheduler.drawing" in (folder / "cmdline").read_bytes()
    return False


def is_gone(pid: int) -> bool:
    """Ended, whether or not whoever inherited it has noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def draws(pid: int) -> bool:
    """The renderer is loaded by the first picture."""
    with suppress(OSError):
        return "vl_convert" in Path(f"/proc/{pid}/maps").read_text()
    return False


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(PATIENCE):
        while not (answer := condition()):
            await asyncio.sleep(0.01)
    return answer


@asynccontextmanager
async def killing(*, at_most: int = 1_000_000) -> AsyncIterator[set[int]]:
    """So many drawing processes of this process are killed as soon as they are there; which they were."""
    killed: set[int] = set()

    async def kill() -> None:
        while len(killed) < at_most:
            for pid in drawers() - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            await asyncio.sleep(0.01)

    killer = asyncio.create_task(kill())
    try:
        yield killed
    finally:
        killer.cancel()


@pytest.fixture
async def pictures() -> AsyncIterator[Pictures]:
    made = Pictures()
    yield made
    await made.aclose()
    assert drawers() == set()


# ── one picture after the other ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("display", [Display.NUMBER, Display.LINE, Display.BAR, Display.PIE])
async def test_a_picture_is_the_same_wherever_it_is_drawn(pictures: Pictures, display: Display) -> None:
    days = [(date(2026, 11, 2) + timedelta(days=number)).isoformat() for number in range(30)]
    rows = tuple((day, 0.1 + number**5) for number, day in enumerate(days))
    types = (ColumnType.DATE, ColumnType.NUMBER)
    result = QueryResult(("day", "Umsatz “€”"), types, rows, datetime(2026, 11, 23, tzinfo=UTC))
    snapshot = InsightSnapshot(1, "abc", "An insight", "", display, result)

    drawn = await pictures.png(chart_spec(snapshot) or {})

    assert drawn == chart_png(snapshot)


async def test_all_who_ask_at_once_share_one_process_and_get_their_own_picture(pictures: Pictures) -> None:
    specs = [{**CHART, "width": 40 * number} for number in range(1, 7)]

    drawn = await asyncio.gather(*(pictures.png(spec) for spec in specs))

    assert [struct.unpack(">I", png[16:20])[0] // 80 for png in drawn] == [1, 2, 3, 4, 5, 6]
    assert len(drawers()) == 1


async def test_the_event_loop_goes_on_while_a_picture_is_drawn(pictures: Pictures) -> None:
    beats = 0
    drawing = asyncio.create_task(pictures.png(CHART))
    while not drawing.done():
        await asyncio.sleep(0.001)
        beats += 1

    assert (await drawing).startswith(PNG)
    assert beats > 50  # in this process, the renderer lets none through


async def test_what_cannot_be_drawn_is_said_and_the_process_goes_on(pictures: Pictures) -> None:
    with pytest.raises(NotDrawn, match="ValueError"):
        await pictures.png({"mark": "no such mark"})
    before = drawers()

    assert (await pictures.png(CHART)).startswith(PNG)
    assert drawers() == before


async def test_a_caller_who_gives_up_spoils_nobody_elses_picture(pictures: Pictures) -> None:
    first = asyncio.create_task(pictures.png(ENDLESS))
    waiting = asyncio.create_task(pictures.png(ENDLESS))
    third = asyncio.create_task(pictures.png({**CHART, "width": 80}))
    await until(lambda: any(draws(pid) for pid in drawers()))

    waiting.cancel()
    first.cancel()

    assert (await third)[16:20] == (await pictures.png({**CHART, "width": 80}))[16:20]
    assert first.cancelled()
    assert waiting.cancelled()
    assert len(drawers()) == 1


# ── it dies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_process_killed_before_it_answers_is_replaced_and_the_picture_comes(pictures: Pictures) -> None:
    drawing = asyncio.create_task(pictures.png(CHART))
    [pid] = await until(drawers)
    os.kill(pid, signal.SIGSTOP)  # it will not be done before it is killed
    os.kill(pid, signal.SIGKILL)

    with capture_logs() as events:
        png = await drawing

    assert png.startswith(PNG)
    assert pid not in drawers()
    assert [event["event"] for event in events] == ["drawing.died"]


async def test_a_process_killed_while_it_draws_is_replaced_by_one_that_draws_the_same(pictures: Pictures) -> None:
    drawing = asyncio.create_task(pictures.png(ENDLESS))
    [pid] = await until(lambda: {each for each in drawers() if draws(each)})
    os.kill(pid, signal.SIGKILL)

    [another] = await until(lambda: {each for each in drawers() - {pid} if draws(each)})
    os.kill(another, signal.SIGKILL)

    with pytest.raises(NotDrawn, match="the drawing process died"):
        await drawing


async def test_a_process_that_died_between_two_pictures_is_replaced(pictures: Pictures) -> None:
    await pictures.png(CHART)
    [pid] = drawers()
    os.kill(pid, signal.SIGKILL)

    assert (await pictures.png(CHART)).startswith(PNG)
    assert len(drawers() - {pid}) == 1


async def test_after_two_deaths_there_is_no_picture_but_the_next_one_is_drawn(pictures: Pictures) -> None:
    async with killing(at_most=2) as killed:
        with pytest.raises(NotDrawn, match="the drawing process died"):
            await pictures.png(CHART)

        assert len(killed) == 2
        assert (await pictures.png(CHART)).startswith(PNG)


async def test_a_picture_that_takes_too_long_is_given_up_and_its_process_killed() -> None:
    pictures = Pictures(limit=1.5)
    with capture_logs() as events, pytest.raises(NotDrawn, match=r"longer than 1\.5 s"):
        await pictures.png(ENDLESS)

    assert [event["event"] for event in events] == ["drawing.died"]
    assert drawers() == set()


async def test_closing_ends_the_process_in_the_middle_of_a_picture_and_starts_no_other() -> None:
    pictures = Pictures()
    drawing = asyncio.create_task(pictures.png(ENDLESS))
    await until(lambda: any(draws(pid) for pid in drawers()))

    await pictures.aclose()

    assert drawers() == set()
    with pytest.raises(NotDrawn, match="is stopping"):
        await drawing
    with pytest.raises(NotDrawn, match="is stopping"):
        await pictures.png(CHART)


async def test_an_idle_process_ends_and_the_next_picture_starts_another() -> None:
    pictures = Pictures(idle=0.2, limit=600)
    await pictures.png(CHART)
    first = pictures._process
    assert first is not None
    async with asyncio.timeout(PATIENCE):
        await first.wait()

    with capture_logs() as events:
        assert (await pictures.png(CHART)).startswith(PNG)
    await pictures.aclose()
    assert events == []  # it was time, not an accident


# ── the process by itself ────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def by_itself(*, limit: float = PATIENCE) -> AsyncIterator[asyncio.subprocess.Process]:
    command = (sys.executable, "-m", "scheduler.drawing", str(PATIENCE), str(limit))
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with ended(process.pid):
        yield process


@contextmanager
def ended(pid: int) -> Iterator[None]:
    """When a test fails, too: nobody else would end it."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_without_anybody_to_stop_it_the_kernel_ends_a_drawing_that_takes_too_long() -> None:
    async with by_itself(limit=1.0) as process, asyncio.timeout(PATIENCE):
        assert process.stdin is not None
        process.stdin.write(framed(json.dumps(ENDLESS).encode()))

        assert await process.wait() == -signal.SIGALRM


async def test_it_ends_with_its_standard_input_even_within_a_request() -> None:
    async with by_itself() as process, asyncio.timeout(PATIENCE):
        answer, _ = await process.communicate(framed(b"whole")[:-1])

        assert (process.returncode, answer) == (0, b"")


PARENT = """
import asyncio
from scheduler.pictures import Pictures

async def main():
    await Pictures(limit=3, idle=600).png({chart})
    print("drawn", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def service(chart: dict[str, Any]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT.format(chart=chart), stdout=subprocess.PIPE
    )


async def test_a_killed_service_leaves_no_process_behind() -> None:
    parent = await service(CHART)
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"drawn\n"
    [pid] = drawers(parent.pid)

    with ended(pid):
        parent.kill()
        await parent.wait()

        await until(lambda: is_gone(pid))


async def test_a_service_killed_in_the_middle_of_a_picture_leaves_no_process_behind() -> None:
    parent = await service(ENDLESS)
    [pid] = await until(lambda: {each for each in drawers(parent.pid) if draws(each)})

    with ended(pid):
        parent.kill()
        await parent.wait()

        await until(lambda: is_gone(pid))


# ── what it gets to know ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_process_knows_no_setting_and_no_secret(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERROUND_SMTP_URL", "smtp://user:s3cret@mail.example.org")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("LANG", "C.UTF-8")
    await pictures.png(CHART)
    [pid] = drawers()

    known = dict(each.split("=", 1) for each in Path(f"/proc/{pid}/environ").read_text().split("\0") if each)

    assert known.keys() <= set(ENVIRONMENT)
    assert known["LANG"] == "C.UTF-8"


async def test_the_process_has_none_of_our_files_and_sockets(pictures: Pictures, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, (tmp_path / "paperround.db").open("w") as file:
        os.set_inheritable(server.fileno(), True)
        os.set_inheritable(file.fileno(), True)
        ours = {Path(f"/proc/self/fd/{each.fileno()}").readlink().as_posix() for each in (server, file)}
        await pictures.png(CHART)
        [pid] = drawers()

        theirs = {path.readlink().as_posix() for path in Path(f"/proc/{pid}/fd").iterdir()}

    assert len(ours) == 2
    assert not ours & theirs


async def test_the_process_is_bounded_and_the_first_to_go_when_memory_is_short(pictures: Pictures) -> None:
    await pictures.png(CHART)
    [pid] = drawers()

    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    bounded = {line[:25].strip(): line[26:46].strip() for line in limits}

    assert (bounded["Max data size"], bounded["Max core file size"]) == (str(1536 * 2**20), "0")
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "1000\n"


def test_a_service_does_not_load_the_renderer() -> None:
    program = "import scheduler.app, sys; print('vl_convert' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert told.stdout == "False\n"


# ── deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def drawn_insight(world: World, name: str) -> int:
    sources = await world.sql("SELECT id FROM sources")
    made = await world.app.catalog.add_insight(
        world.project, name, source=sources[0].id, sql="SELECT day, n FROM t", display="line"
    )
    return made.id


async def test_a_delivery_brings_its_picture(world: World) -> None:
    await world.subscribe(insight=await drawn_insight(world, "Line"))
    world.clock.advance(hours=1)

    await settle(world.runner())

    [(message, _)] = world.email.sent
    assert [(export.image or b"")[:8] for export in message.exports] == [PNG]


async def test_a_delivery_whose_picture_cannot_be_drawn_is_sent_without_it(world: World) -> None:
    await world.subscribe(insight=await drawn_insight(world, "Line"))
    world.clock.advance(hours=1)

    with capture_logs() as events:
        async with killing():
            await settle(world.runner())

    [(message, _)] = world.email.sent
    assert await world.statuses() == [DeliveryStatus.COMPLETED]
    assert [export.image for export in message.exports] == [None]
    assert "2026-11-21" in message.text
    assert "picture.not_drawn" in {event["event"] for event in events}


async def test_one_picture_that_cannot_be_drawn_costs_no_other(world: World) -> None:
    first, second = await drawn_insight(world, "First"), await drawn_insight(world, "Second")
    dashboard = await world.app.catalog.add_dashboard(world.project, "Both", insights=[first, second])
    await world.subscribe(insight=None, dashboard=dashboard.id, dashboard_export_insights=[first, second])
    world.clock.advance(hours=1)

    async with killing(at_most=2):
        await settle(world.runner())

    [(message, _)] = world.email.sent
    assert [export.image is None for export in message.exports] == [True, False]


async def test_neither_a_webhook_nor_a_table_starts_the_process(world: World) -> None:
    await world.subscribe(
        insight=await drawn_insight(world, "Line"), target_type="webhook", target_value="http://127.0.0.1:9/hook"
    )
    await world.subscribe()
    world.clock.advance(hours=1)

    await settle(world.runner())

    assert (len(world.webhook.sent), len(world.email.sent)) == (1, 1)
    assert drawers() == set()
