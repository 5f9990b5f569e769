"""The terminal chat while people come and go."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager

import pytest

from chatbox.backplane.base import Signal
from chatbox.cli.screen import Screen
from chatbox.cli.talk import Talk
from chatbox.client import ChatClient
from chatbox.commits import Commits
from chatbox.helpdesk import Helpdesk
from chatbox.hours import Hours
from chatbox.session import Principal, new_id, now_ms
from chatbox.staff.protocol import typing
from tests.live import running, token

BEA, CY = (Principal(name.lower(), name, frozenset({"admin"}), 2e9) for name in ("Bea", "Cy"))


class Paper(Screen):
    """Keeps what is shown."""

    def __init__(self):
        self.lines = []
        self._news = asyncio.Event()

    def ask(self):
        raise EOFError

    def note(self, text):
        self._put(f"· {text}")

    def message(self, speaker, text):
        self._put(f"{speaker}: {text}")

    def typing(self, name):
        self._put(f"{name} types")

    def waiting(self):
        pass

    def piece(self, text):
        pass

    def answered(self, remark, whole):
        self._put(f"assistant: {whole}")

    async def shows(self, pattern):
        async with asyncio.timeout(20):
            while not any(re.search(pattern, line) for line in self.lines):
                self._news.clear()
                await self._news.wait()

    def _put(self, line):
        self.lines.append(line)
        self._news.set()


@pytest.fixture
async def live(tmp_path):
    async with running(tmp_path) as server:
        yield server


@asynccontextmanager
async def talking(live):
    """A talk, what it shows, and its session."""
    paper = Paper()
    talk = Talk(lambda session_id: ChatClient(live.http, token=token(), session_id=session_id), paper)
    await talk.enter()
    try:
        yield talk, paper, talk._session_id
    finally:
        await talk.leave()


def desk(live, hours):
    app = live.app
    return Helpdesk(app.storage, Commits(app.storage, app.backplane, app.hub), hours)


async def test_who_comes_hands_on_and_goes_is_shown_with_what_they_say(live):
    async with talking(live) as (talk, paper, session_id):
        await talk.take("hello")
        takeovers = live.app.takeovers
        await takeovers.join(BEA, session_id, new_id())
        await paper.shows("Bea has joined; the AI is silent")
        await live.app.backplane.publish(session_id, Signal(str(typing(session_id, BEA.staff))))
        await paper.shows("Bea types")
        await takeovers.say(BEA, session_id, new_id(), "Good morning.")
        await paper.shows("Bea: Good morning.")
        async with asyncio.timeout(1.5):  # no answer begins, and none is waited for
            await talk.take("Morning!")
        await talk.take("/regenerate")
        await paper.shows("A member of staff has this conversation now")
        await takeovers.transfer(BEA, CY.staff, session_id, new_id())
        await paper.shows("Bea has handed this conversation on to Cy")
        await takeovers.end(await live.app.storage.get(session_id), new_id(), reason="away")
        await paper.shows("Cy has been away for too long; the AI answers again")
        await talk.take("back?")
        await paper.shows(r"assistant: (?s:.*)back\?")


async def test_who_has_the_conversation_is_shown_to_who_comes_back(live):
    async with talking(live) as (talk, paper, session_id):
        await talk.take("hello")
        await live.app.takeovers.join(BEA, session_id, new_id())
        await live.app.takeovers.say(BEA, session_id, new_id(), "Good morning.")
        await paper.shows("Bea: Good morning.")
    async with talking(live) as (_, paper, _):
        await paper.shows("Bea: Good morning.")
        await paper.shows("Bea from support has this conversation; the AI is silent")


async def test_how_a_call_for_help_stands_is_shown_truthfully(live):
    async with talking(live) as (talk, paper, session_id):
        await talk.take("/human please")
        await paper.shows("help was asked for; nobody has been told yet")
        await talk.take("/human now")
        await paper.shows("a person was asked for already")
        await talk.take("/email")
        await paper.shows("give an address")
        await talk.take("/email nowhere")
        await paper.shows("email is not an e-mail address")
        await talk.take("/email ann@example.com")
        await paper.shows("an answer can be sent to ann@example.com")
        assert (await live.app.storage.get(session_id)).context == {"help_email": "ann@example.com"}
        session = await live.app.storage.get(session_id)
        await desk(live, Hours()).told(session_id, session.help_since, now_ms())
        await paper.shows(r"support was told at \d{4}-\d\d-\d\d \d\d:\d\d")
        await talk.take("/cancel")
        await paper.shows("nobody is asked for help any more")


async def test_closed_support_says_when_it_opens(live):
    async with talking(live) as (talk, paper, session_id):
        await talk.take("/human")
        session = await live.app.storage.get(session_id)
        closed = desk(live, Hours("Mo-Su 09:00-10:00"))
        since = session.help_since - session.help_since % 86_400_000  # midnight
        await closed.closed(session, since)
        await paper.shows(r"support is closed now and opens at \d{4}-\d\d-\d\d \d\d:\d\d; leave an address: /email")
