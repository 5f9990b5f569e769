"""Background tasks have an owner."""

import asyncio
from contextlib import suppress

import pytest

from chatbox import tasks
from chatbox.deadline import Deadline
from chatbox.errors import NotFound
from chatbox.tasks import Tasks


async def test_what_still_runs_ends_with_its_owner():
    async with Tasks() as owner:
        forever = owner.start(asyncio.Event().wait(), "forever")
        assert len(owner) == 1
    assert forever.cancelled()
    assert len(owner) == 0


async def test_what_takes_its_cancellation_for_something_else_is_cancelled_again(monkeypatch):
    monkeypatch.setattr(tasks, "CANCEL_AGAIN", 0.01)
    began = asyncio.Event()

    async def deaf():
        began.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    async with asyncio.timeout(10):
        async with Tasks() as owner:
            task = owner.start(deaf(), "deaf")
            await began.wait()
        assert task.cancelled()


async def test_a_task_that_starts_another_one_while_it_ends_is_waited_for():
    ended = []

    async def last():
        ended.append("last")
        await asyncio.Event().wait()

    async def first(owner):
        try:
            await asyncio.Event().wait()
        finally:
            owner.start(last(), "last")

    async with Tasks() as owner:
        owner.start(first(owner), "first")
        await asyncio.sleep(0)
    assert len(owner) == 0


async def test_a_failure_that_nobody_foresaw_is_counted_and_one_of_ours_is_the_callers_business():
    async def fail(error):
        raise error

    async with Tasks() as owner:
        for error in (ValueError("a bug"), NotFound("gone")):
            with pytest.raises(type(error)):
                await owner.start(fail(error), "failing")
        await asyncio.sleep(0)
        assert owner.failed == 1


async def test_work_that_must_not_end_begins_again_after_it_failed(monkeypatch):
    monkeypatch.setattr(tasks, "PAUSE", 0.0)
    begun = asyncio.Semaphore(0)

    async def work():
        begun.release()
        raise OSError("for a moment")

    async with Tasks() as owner:
        owner.keep(work, "work")
        for _ in range(3):
            await begun.acquire()
        assert owner.failed >= 2


async def test_a_deadline_moves_with_every_feeding_also_when_the_first_one_was_longer():
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(TimeoutError):
        await fed_four_times(Deadline(30.0, 0.05))
    assert 0.1 < loop.time() - start < 5


async def fed_four_times(deadline):
    async with deadline:
        for _ in range(4):
            await asyncio.sleep(0.02)
            deadline.feed()
        await asyncio.sleep(10)


async def test_a_deadline_that_is_kept_leaves_no_timer():
    async with Deadline(0.02, 0.02):
        pass
    await asyncio.sleep(0.05)


async def test_the_first_feeding_may_take_longer_than_the_others():
    async with Deadline(5.0, 0.01) as deadline:
        await asyncio.sleep(0.05)
        deadline.feed()
