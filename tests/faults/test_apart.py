"""Replicas that can't reach each other share a store, and what the store can hold for them."""

from __future__ import annotations

import asyncio

from chatbox.backplane.base import Grant
from chatbox.backplane.memory import MemoryBackplane
from chatbox.session import Kind
from chatbox.storage.memory import MemoryStorage
from tests.world import Around, Scripted, World


class Apart(MemoryBackplane):
    """Grants leases as one that nobody else could be asked for."""

    async def acquire(self, session_id, answer_id):
        return await super().acquire(session_id, answer_id) and Grant.ALONE


class Slow(Around):
    """The store as one replica reaches it: taking a turn waits for ``go``."""

    def __init__(self, inner):
        super().__init__(inner)
        self.waiting, self.go = asyncio.Event(), asyncio.Event()

    async def append(self, entry, change=None, *, fence=None):
        if entry.kind is Kind.TURN:
            self.waiting.set()
            await self.go.wait()
        return await self.inner.append(entry, change, fence=fence)


async def test_a_question_that_another_replica_has_answered_meanwhile_is_not_answered_again():
    storage, model = MemoryStorage(), Scripted()
    slow = Slow(storage)
    here, there = World(slow, model, backplane=Apart()), World(storage, model, backplane=Apart())
    async with here.tasks, there.tasks:
        ear = await here.enter()
        await here.say(ear, "Hello")
        await asyncio.wait_for(slow.waiting.wait(), 10)
        far = await there.enter(session_id=ear.session_id)
        await far.done()
        slow.go.set()
        await here.quiet()
        await there.quiet()
        entries = await storage.read(ear.session_id)
    assert [entry.kind for entry in entries].count(Kind.AI_RESPONSE) == 1
    assert len(model.prompts) == 1
