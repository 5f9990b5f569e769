"""What the provider sent is what the page shows, byte for byte and once, whatever happens to the network meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, WebSocketRoute, expect

from tests.llm.standins.openai import OpenAIServer
from tests.llm.standins.server import KEY, Script

from .conftest import PATIENCE, ChatPage, Person, Server, free_port, serving, until
from .proxy import Proxy

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ALPHABET = "abcdefgh ij kl\n_*`#<&>\"'\\ äßé 你好 👩‍👩‍👧🙂‍↔️ e\u0301 \u202eabc\u202c\t| - 1."
LONG = 60_000


def pieces(count: int, seed: int) -> tuple[str, ...]:
    """A code block of whatever characters there are, cut anywhere."""
    random_ = random.Random(seed)
    body = ["".join(random_.choices(ALPHABET, k=random_.randrange(1, 12))) for _ in range(count)]
    return ("Before it.\n\n", "````text\n", *body, "\n````\n", "\nAfter it.")


class Answering:
    """A server whose model says what the test wants."""

    def __init__(self, server: Server, vendor: OpenAIServer) -> None:
        self.server = server
        self.vendor = vendor

    def will_say(self, words: tuple[str, ...], pause: float) -> str:
        self.vendor.script = Script(words=words, pause=pause)
        return "".join(words)


@asynccontextmanager
async def answering(folder: Path) -> AsyncIterator[Answering]:
    async with OpenAIServer() as vendor:
        settings = {
            "LLM_PROVIDER_1_TYPE": "openai",
            "LLM_PROVIDER_1_ENDPOINT": vendor.url,
            "LLM_PROVIDER_1_API_KEY": KEY,
            "LLM_PROVIDER_1_MODEL": "small",
            "RATE_LIMIT": "10000",
        }
        async with serving(folder, settings) as server:
            yield Answering(server, vendor)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def model(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Answering]:
    async with answering(tmp_path_factory.mktemp("answering")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def network(model: Answering) -> AsyncIterator[Proxy]:
    async with Proxy(model.server.port) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def reader(model: Answering, context: BrowserContext) -> Person:
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    return Person(model.server, context, f"user-{secrets.token_hex(6)}")


@pytest_asyncio.fixture(loop_scope="session")
async def other_device(reader: Person, chromium: Browser) -> AsyncIterator[Person]:
    context = await chromium.new_context(
        locale="en-GB",
        viewport={"width": 390, "height": 844},
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(PATIENCE)
    yield Person(reader.server, context, reader.user)
    await context.close()


WATCH = """() => {
    // Notes in every frame how much is shown; a flicker is a frame that shows less than the one before.
    const seen = window.seen = { shrunk: [], most: 0 };
    let before = { said: 0, answered: 0, text: 0 };
    const deep = (root, selector) => [...root.querySelectorAll("*")].flatMap((element) => [
        ...(element.matches(selector) ? [element] : []),
        ...(element.shadowRoot ? deep(element.shadowRoot, selector) : []),
    ]);
    const look = () => {
        const now = {
            said: deep(document, "article.user").length,
            answered: deep(document, "article.ai").length,
            text: deep(document, "chatbox-markdown").reduce((sum, { text }) => sum + text.length, 0),
        };
        for (const key of Object.keys(now)) if (now[key] < before[key]) seen.shrunk.push([key, before[key], now[key]]);
        seen.most = Math.max(seen.most, now.answered);
        before = now;
        requestAnimationFrame(look);
    };
    look();
}"""


async def watch(chat: ChatPage) -> None:
    await chat.page.evaluate(WATCH)


async def flickers(chat: ChatPage) -> list[object]:
    return await chat.page.evaluate("window.seen.shrunk")


async def finished(chat: ChatPage, answers: int = 1) -> None:
    await expect(chat.answers).to_have_count(answers, timeout=LONG)
    await expect(chat.answers.last.locator("time")).to_be_visible(timeout=LONG)
    await expect(chat.stop).to_have_count(0)


async def copied(chat: ChatPage) -> str:
    """The last answer as the page has it."""
    await chat.page.bring_to_front()
    foot = chat.answers.last.locator("footer")
    await foot.get_by_role("button", name="Copy", exact=True).click()
    await expect(foot.get_by_role("button", name="Copied")).to_be_visible()
    return await chat.page.evaluate("navigator.clipboard.readText()")


async def laid_out(chat: ChatPage) -> str:
    return await chat.answers.last.locator("chatbox-markdown .text").inner_html()


async def shows_all(chat: ChatPage, text: str) -> None:
    """The page shows exactly this answer to exactly one question, as a page does that has read it at leisure."""
    await finished(chat)
    await expect(chat.said).to_have_count(1)
    assert await copied(chat) == text
    code = await chat.answers.last.locator("code").text_content()
    assert code == text.partition("````text\n")[2].partition("\n````\n")[0] + "\n"
    seen = await laid_out(chat)
    await chat.page.reload()
    await finished(chat)
    assert await copied(chat) == text
    assert await laid_out(chat) == seen


async def ten_seconds_cut(proxy: Proxy) -> None:
    proxy.refusing = True
    proxy.cut()
    await asyncio.sleep(10)
    proxy.refusing = False


async def ten_seconds_hole(proxy: Proxy) -> None:
    proxy.swallow()
    await asyncio.sleep(10)
    proxy.hole = False


@pytest.mark.parametrize(
    ("away", "pause"),
    [(ten_seconds_cut, 0.055), (ten_seconds_cut, 0.02), (ten_seconds_hole, 0.055)],
    ids=["cut, and it still runs after", "cut, and it ends meanwhile", "black hole"],
)
async def test_ten_seconds_offline_amid_an_answer(
    model: Answering, network: Proxy, reader: Person, other_device: Person, away, pause: float
) -> None:
    text = model.will_say(pieces(250, seed=1), pause)
    chat = await reader.open(base=network.base(reader.server.base))
    other = await other_device.open(path=f"c/{chat.session_id}")
    await watch(chat)
    await chat.say("Tell me")
    await expect(chat.answers.locator("code")).to_be_visible()
    await away(network)
    await finished(chat)
    assert await flickers(chat) == []
    network.cut()  # Dead connections that the browser keeps for later would hold up its reload.
    await shows_all(chat, text)
    await shows_all(other, text)
    await expect(chat.link).to_have_text("")
    assert await model.server.stored(reader.token, chat.session_id) == [("user", "Tell me"), ("ai", text)]


async def test_a_reload_amid_an_answer_and_a_second_device_show_it_whole(
    model: Answering, network: Proxy, reader: Person, other_device: Person
) -> None:
    text = model.will_say(pieces(120, seed=2), 0.04)
    chat = await reader.open(base=network.base(reader.server.base))
    await chat.say("Tell me")
    await expect(chat.answers.locator("code")).to_be_visible()
    await chat.page.reload()
    await expect(chat.answers.locator("code")).to_be_visible()
    other = await other_device.open(path=f"c/{chat.session_id}")
    await expect(other.answers.locator("code")).to_be_visible()
    network.cut()
    await expect(chat.stop).to_be_visible()
    await shows_all(chat, text)
    await shows_all(other, text)


async def test_many_cuts_at_any_moment_lose_and_double_nothing(
    model: Answering, network: Proxy, reader: Person
) -> None:
    random_ = random.Random(3)
    text = model.will_say(pieces(300, seed=3), 0.03)
    chat = await reader.open(base=network.base(reader.server.base))
    await watch(chat)
    await chat.say("Tell me")
    await expect(chat.answers.locator("code")).to_be_visible()
    for _ in range(12):
        await asyncio.sleep(random_.random())
        network.cut()
    await finished(chat)
    assert await flickers(chat) == []
    await shows_all(chat, text)


class Wire:
    """The page's sockets, numbered from 1, with what happened to them.

    ``slow`` is how long a handshake takes, in seconds. What the server says to the ``silent`` sockets gets lost.
    """

    def __init__(self) -> None:
        self.history: list[str] = []
        self.slow = 0.0
        self.silent: set[int] = set()
        self._routes: list[WebSocketRoute] = []

    async def __call__(self, route: WebSocketRoute) -> None:
        self._routes.append(route)
        number = len(self._routes)
        self._note(f"open {number}")
        await asyncio.sleep(self.slow)
        server = route.connect_to_server()

        def from_server(text: str) -> None:
            if number not in self.silent:
                route.send(text)

        async def closed(code: int | None, reason: str | None) -> None:
            self._note(f"close {number}")
            await server.close(code=code, reason=reason)

        server.on_message(from_server)
        route.on_close(closed)

    async def has(self, event: str) -> bool:
        return event in self.history

    def drain(self, ms: int) -> None:
        """Tell the newest socket to come back."""
        metadata = {"event": "drain", "retry_after": str(ms)}
        self._routes[-1].send(json.dumps({"type": "notification", "metadata": metadata}))

    def _note(self, event: str) -> None:
        if event not in self.history:
            self.history.append(event)


async def wired(chat: ChatPage) -> Wire:
    wire = Wire()
    await chat.page.route_web_socket(re.compile(r"/ws\?"), wire)
    await chat.page.reload()
    await until(lambda: wire.has("open 1"))
    await expect(chat.link).to_have_text("")
    return wire


async def test_a_draining_server_is_left_for_another_without_a_trace(model: Answering, reader: Person) -> None:
    text = model.will_say(pieces(200, seed=4), 0.03)
    chat = await reader.open()
    wire = await wired(chat)
    await watch(chat)
    await chat.say("Tell me")
    await expect(chat.answers.locator("code")).to_be_visible()
    wire.slow = 0.3
    for number in range(1, 5):
        wire.drain(100)
        await until(lambda number=number: wire.has(f"open {number + 1}"))
        await asyncio.sleep(0.15)
        # The new one now begins before and ends after what the old one has said.
        wire.silent.add(number)
        await until(lambda number=number: wire.has(f"close {number}"))
        await expect(chat.page.locator("chatbox-link-line p")).to_have_count(0)
    await finished(chat)
    moves = [(f"open {number + 1}", f"close {number}") for number in range(1, 5)]
    assert wire.history == ["open 1", *itertools.chain(*moves)]
    assert await flickers(chat) == []
    await shows_all(chat, text)


async def test_a_message_written_while_the_server_drains_is_stored_once(model: Answering, reader: Person) -> None:
    model.will_say(pieces(5, seed=5), 0.01)
    chat = await reader.open()
    wire = await wired(chat)
    wire.slow = 0.3
    texts = []
    for number in range(1, 5):
        wire.silent.add(number)
        texts += [f"{number}, to the old server", f"{number}, while the new one opens"]
        await chat.say(texts[-2])
        wire.drain(0)
        await until(lambda number=number: wire.has(f"open {number + 1}"))
        await chat.say(texts[-1])
        await expect(chat.said).to_have_count(len(texts))
        await expect(chat.page.get_by_text("Sending …")).to_have_count(0)
    await expect(chat.page.get_by_text("Sending …")).to_have_count(0)
    await expect(chat.stop).to_have_count(0)
    stored = await model.server.stored(reader.token, chat.session_id)
    assert [text for sender, text in stored if sender == "user"] == texts
    await expect(chat.said).to_have_count(len(texts))


async def test_a_single_server_that_restarts_is_followed_to_its_end_and_found_again(
    tmp_path: Path, context: BrowserContext
) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    async with OpenAIServer() as vendor:
        settings = {
            "LLM_PROVIDER_1_TYPE": "openai",
            "LLM_PROVIDER_1_ENDPOINT": vendor.url,
            "LLM_PROVIDER_1_API_KEY": KEY,
            "LLM_PROVIDER_1_MODEL": "small",
            "SERVER_PORT": str(free_port()),
            "JWT_SECRET": secrets.token_urlsafe(48),
        }
        words = pieces(200, seed=6)
        vendor.script = Script(words=words, pause=0.04)
        async with serving(tmp_path, settings) as server:
            person = Person(server, context, "restarted")
            chat = await person.open()
            await watch(chat)
            await chat.say("Tell me")
            await expect(chat.answers.locator("code")).to_be_visible()
            server.process.terminate()
            await finished(chat)
            assert await flickers(chat) == []
            assert await copied(chat) == "".join(words)
            await asyncio.wait_for(server.process.wait(), 60)
        await expect(chat.link).to_contain_text("The connection was lost.")
        await chat.say("And now?")
        vendor.script = Script(words=("Here ", "again."))
        async with serving(tmp_path, settings):
            await expect(chat.link).to_have_text("", timeout=LONG)
            await finished(chat, answers=2)
            await expect(chat.said).to_have_count(2)
            stored = await server.stored(person.token, chat.session_id)
            text = "".join(words)
            assert stored == [("user", "Tell me"), ("ai", text), ("user", "And now?"), ("ai", "Here again.")]
