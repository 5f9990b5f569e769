"""Servers that are killed while people talk: what was acknowledged is there, in order, once."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from chatbox.client import Answer, ChatClient, Message
from tests.live import token
from tests.processes import serving

ROUNDS = 3


class Talker:
    """Says one thing after another and keeps what was acknowledged and what was told."""

    def __init__(self, service, user):
        self.chat = ChatClient(service.http, token=token(user), history=True)
        self.user = user
        self.acked, self.told, self.answers = [], [], {}

    async def talk(self, until):
        number = 0
        while not until.is_set():
            number += 1
            text = f"{self.user} {number}"
            ack = await self.chat.say(text)
            self.acked.append((ack.seq, text))
            await asyncio.sleep(0.01)

    async def listen(self):
        async for event in self.chat.events():
            if isinstance(event, Message):
                self.told.append((event.seq, event.content))
            elif isinstance(event, Answer):
                self.answers[event.message_id] = event


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_every_acknowledged_message_survives_kills_of_the_server_in_order_and_once(tmp_path):
    async with serving(tmp_path, RATE_LIMIT="100000") as service:
        talkers = [Talker(service, user) for user in ("ann", "bob", "cid")]
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for talker in talkers:
                group.create_task(lives(talker, enough))
            for _ in range(ROUNDS):
                await said_more(talkers)
                await service.kill()
                await service.start()
            await said_more(talkers)
            enough.set()
        for talker in talkers:
            stored = await conversation(service, talker)
            said = [(message.seq, message.content) for message in stored if message.sender == "user"]
            assert len(talker.acked) >= ROUNDS
            assert said == talker.acked == talker.told


async def lives(talker, enough):
    async with talker.chat:
        listening = asyncio.create_task(talker.listen())
        await talker.talk(enough)
        listening.cancel()


async def said_more(talkers, count=20):
    """Wait until everyone has said some more."""
    goals = [len(talker.acked) + count for talker in talkers]
    async with asyncio.timeout(120):
        while any(len(talker.acked) < goal for talker, goal in zip(talkers, goals, strict=True)):
            await asyncio.sleep(0.02)


async def conversation(service, talker):
    async with ChatClient(service.http, token=token(talker.user)) as chat:
        session = (await chat.api.sessions()).sessions[0]
        return await chat.api.messages(session.id)


async def test_an_answer_that_a_crash_cut_off_is_closed_as_interrupted_and_can_be_had_again(tmp_path):
    async with serving(tmp_path) as service, ChatClient(service.http, token=token()) as chat:
        answers = asyncio.Queue()

        async def read():
            async for event in chat.events():
                if isinstance(event, Answer):
                    answers.put_nowait(event)

        reading = asyncio.create_task(read())
        await chat.say("/slow 100 " + "word " * 200)
        await asyncio.sleep(1.5)
        await service.kill()
        await service.start()
        async with asyncio.timeout(60):
            cut = await answers.get()
            assert cut.finish_reason == "interrupted"
            assert cut.content.startswith("word ")
            await chat.regenerate()
            await chat.stop()
            again = await answers.get()
        assert again.replaces == cut.message_id
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
