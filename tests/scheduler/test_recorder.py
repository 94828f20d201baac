"""Outcomes are written in batches; whoever put one hears when it is safe."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import DataError, OperationalError

from scheduler import recorder
from scheduler.errors import DatabaseUnavailable
from scheduler.recorder import Recorder


class Ledger:
    """Keeps what is written; each entry of ``problems`` spoils one write."""

    def __init__(self, *problems: Exception) -> None:
        self.batches: list[list[int]] = []
        self.problems = list(problems)
        self.wrote = asyncio.Event()

    async def write(self, items: list[int]) -> None:
        self.wrote.set()
        await asyncio.sleep(0)
        if self.problems:
            raise self.problems.pop(0)
        self.batches.append(items)

    @property
    def written(self) -> list[int]:
        return [item for batch in self.batches for item in batch]


async def test_put_returns_when_its_item_is_written() -> None:
    ledger = Ledger()

    await Recorder(ledger.write).put(1)

    assert ledger.batches == [[1]]


async def test_neighbours_are_written_together() -> None:
    ledger = Ledger()
    together = Recorder(ledger.write)

    await asyncio.gather(*(together.put(number) for number in range(50)))

    assert ledger.batches == [list(range(50))]


async def test_a_full_batch_does_not_wait_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "WITHIN_SECONDS", 100)
    ledger = Ledger()
    full = Recorder(ledger.write)

    async with asyncio.timeout(10):
        await asyncio.gather(*(full.put(number) for number in range(recorder.SIZE)))

    assert ledger.written == list(range(recorder.SIZE))


async def test_what_comes_during_a_write_is_in_the_next_one() -> None:
    ledger = Ledger()
    busy = Recorder(ledger.write)
    written_first = asyncio.create_task(busy.put(1))
    await ledger.wrote.wait()

    await busy.put(2)
    await written_first

    assert ledger.batches == [[1], [2]]


async def test_after_a_rest_it_begins_anew() -> None:
    ledger = Ledger()
    resting = Recorder(ledger.write)

    for number in range(3):
        await resting.put(number)
        await asyncio.sleep(0)

    assert ledger.written == [0, 1, 2]


async def test_while_the_database_does_not_answer_nothing_is_thrown_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recorder, "RETRY_SECONDS", 0.001)
    ledger = Ledger(
        OperationalError("UPDATE … SET address = 'ann@example.org'", {}, Exception("database is locked")),
        DatabaseUnavailable("no answer"),
    )
    patient = Recorder(ledger.write)

    await asyncio.gather(*(patient.put(number) for number in range(3)))

    assert ledger.batches == [[0, 1, 2]]
    shown = capsys.readouterr().out
    assert "database is locked" in shown
    assert "ann@example.org" not in shown


async def test_whoever_stopped_waiting_stops_nobody_else() -> None:
    ledger = Ledger()
    gathering = Recorder(ledger.write)
    impatient, patient = asyncio.create_task(gathering.put(1)), asyncio.create_task(gathering.put(2))
    await asyncio.sleep(0)

    impatient.cancel()
    await patient

    assert ledger.written == [1, 2]


async def test_an_item_that_can_never_be_written_spoils_no_other_and_its_sender_hears_of_it() -> None:
    written: list[list[int]] = []

    async def write(items: list[int]) -> None:
        if 2 in items:
            raise DataError("UPDATE …", {}, Exception("no such character"))
        written.append(items)

    poisoned = Recorder(write)

    answers = await asyncio.gather(*(poisoned.put(each) for each in (1, 2, 3)), return_exceptions=True)

    assert [type(answer) for answer in answers] == [type(None), DataError, type(None)]
    assert written == [[1], [3]]


async def test_a_bug_while_writing_does_not_keep_its_senders_forever() -> None:
    poisoned = Recorder(Ledger(ZeroDivisionError()).write)

    async with asyncio.timeout(0.5):
        with pytest.raises(ZeroDivisionError):
            await poisoned.put(1)
