"""Whoever must store something tries again what may succeed later, at growing intervals, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st
from stamina import _core

from chatbox.backplane.memory import MemoryBackplane, MemoryQuotas
from chatbox.draft import ReplyLimits
from chatbox.errors import Fenced, NotFound, StorageBusy, StorageCorrupt, StorageError, StorageLocked
from chatbox.hub import Hub
from chatbox.metrics import Metrics
from chatbox.reply import MAX_WAIT, Replies
from chatbox.session import Change, Entry
from chatbox.storage.base import Appended, Storage
from chatbox.storage.memory import MemoryStorage
from chatbox.tasks import Tasks
from tests import mutants
from tests.storage.values import entry, session

FIRST_WAIT = 0.1

Storing = Callable[[Storage, Entry], Awaitable[Appended]]


class Hiccups(MemoryStorage):
    """Fails with each of these errors before it works; some fail after they have stored, as a lost answer does."""

    def __init__(self, errors: list[Exception], late: bool = False) -> None:
        super().__init__()
        self.tried = 0
        self._errors = errors
        self._late = late

    async def append(self, entry: Entry, change: Change | None = None, *, fence: int | None = None) -> Appended:
        self.tried += 1
        if self.tried > len(self._errors):
            return await super().append(entry)
        if self._late:
            await super().append(entry)
        raise self._errors[self.tried - 1]


async def by_the_service(storage: Storage, message: Entry) -> Appended:
    """As an answer is stored."""
    backplane, quotas, tasks = MemoryBackplane(), MemoryQuotas({}, {}), Tasks()
    hub = Hub(storage, backplane, tasks)
    replies = Replies(storage, backplane, quotas, hub, {}, ReplyLimits(), Metrics(), tasks)
    return await replies._append(message, Change(), fence=0)


@contextmanager
def recorded_waits() -> Iterator[list[float]]:
    """The pauses between attempts, which take no time meanwhile."""
    waits: list[float] = []

    async def note(delay: float) -> None:
        waits.append(delay)

    before: Any = _core._smart_sleep
    _core._smart_sleep = note
    try:
        yield waits
    finally:
        _core._smart_sleep = before


async def play(store: Storing, storage: Hiccups) -> tuple[list[float], list[Entry], Exception | None]:
    """The waits, what is stored in the end, and how it failed."""
    await storage.create(new := session())
    error = None
    with recorded_waits() as waits:
        try:
            await store(storage, entry(new.id))
        except Exception as caught:  # noqa: BLE001 - the check looks at which one it is
            error = caught
    return waits, await storage.read(new.id), error


def check_transient(texts: list[str], late: bool, store: Storing = by_the_service) -> None:
    """What is busy is tried until it is stored, once, whatever the errors say and whenever they came."""
    storage = Hiccups([StorageBusy(text) for text in texts], late)
    _, stored, error = asyncio.run(play(store, storage))
    assert error is None
    assert storage.tried == len(texts) + 1
    assert len(stored) == 1


def check_permanent(texts: list[str], last: Exception, store: Storing = by_the_service) -> None:
    """The first error that will not pass is the last attempt, whatever it says."""
    storage = Hiccups([*map(StorageBusy, texts), last, StorageBusy("never reached")])
    _, stored, error = asyncio.run(play(store, storage))
    assert error is last
    assert storage.tried == len(texts) + 1
    assert stored == []


def check_waits(texts: list[str], store: Storing = by_the_service) -> None:
    """Pauses double from attempt to attempt, with jitter, up to the cap; what the errors say changes nothing."""
    waits, _, _ = asyncio.run(play(store, Hiccups([StorageBusy(text) for text in texts])))
    assert len(waits) == len(texts)
    for number, wait in enumerate(waits):
        assert min(MAX_WAIT, FIRST_WAIT * 2**number) <= wait <= MAX_WAIT


TEXTS = st.lists(st.sampled_from(["database is locked", "disk I/O error", "no such table"]) | st.text(), max_size=12)
PERMANENT = st.sampled_from([StorageError, StorageCorrupt, StorageLocked, Fenced, NotFound, ValueError])


@pytest.mark.readiness(issue=9)
@given(TEXTS, st.booleans())
def test_transient_errors_are_tried_again_until_it_is_stored_once(texts: list[str], late: bool) -> None:
    check_transient(texts, late)


@pytest.mark.readiness(issue=9)
@given(TEXTS, PERMANENT, st.sampled_from(["database is locked", "busy, try again", "timeout"]) | st.text())
def test_other_errors_fail_at_once_whatever_they_say(texts: list[str], kind: type[Exception], text: str) -> None:
    check_permanent(texts, kind(text))


@pytest.mark.readiness(issue=9)
@given(TEXTS)
def test_waits_grow_exponentially_up_to_a_cap(texts: list[str]) -> None:
    check_waits(texts)


async def once(storage: Storage, message: Entry) -> Appended:
    return await storage.append(message)


async def by_text(storage: Storage, message: Entry) -> Appended:
    def looks_transient(error: Exception) -> bool:
        return any(word in str(error).lower() for word in ("locked", "busy", "timeout"))

    return await retried(storage, message, looks_transient)


async def whatever_happens(storage: Storage, message: Entry) -> Appended:
    return await retried(storage, message, lambda error: True)


async def without_backing_off(storage: Storage, message: Entry) -> Appended:
    return await retried(storage, message, lambda error: isinstance(error, StorageBusy), wait_exp_base=1, wait_jitter=0)


async def without_a_cap(storage: Storage, message: Entry) -> Appended:
    return await retried(storage, message, lambda error: isinstance(error, StorageBusy), wait_max=3600)


async def retried(storage: Storage, message: Entry, on: Callable[[Exception], bool], **options: Any) -> Appended:
    async for attempt in stamina.retry_context(on=on, attempts=50, timeout=None, **{"wait_max": MAX_WAIT} | options):
        with attempt:
            return await storage.append(message)
    raise AssertionError("it returns or raises")


@pytest.mark.readiness(issue=9)
@pytest.mark.parametrize("mutant", [once, by_text])
def test_a_store_that_is_not_asked_again_would_be_found(mutant: Storing) -> None:
    with mutants.found():
        check_transient(["disk I/O error"], late=False, store=mutant)


@pytest.mark.readiness(issue=9)
@pytest.mark.parametrize("mutant", [by_text, whatever_happens])
def test_a_permanent_error_that_is_tried_again_would_be_found(mutant: Storing) -> None:
    with mutants.found():
        check_permanent([], StorageCorrupt("the page of a locked table is damaged"), mutant)


@pytest.mark.readiness(issue=9)
@pytest.mark.parametrize("mutant", [without_backing_off, without_a_cap])
def test_waits_that_do_not_grow_or_have_no_cap_would_be_found(mutant: Storing) -> None:
    with mutants.found():
        check_waits(["busy"] * 8, mutant)
