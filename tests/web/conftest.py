"""A real server in development mode with the echo model, and Chromium."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect

from .proxy import Proxy

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ECHO = {"LLM_PROVIDER_1_TYPE": "echo"}
PATIENCE = 15_000

expect.set_options(timeout=PATIENCE)


class Server:
    """A running server. ``link`` is what it printed; ``process`` None: somebody else started it."""

    def __init__(self, base: str, link: str, secret: str, process: asyncio.subprocess.Process | None = None) -> None:
        self.base = base
        self.link = link
        self.process = process
        self._secret = secret

    @property
    def port(self) -> int:
        return int(self.base.split(":")[2].split("/")[0])

    def token(
        self,
        user: str,
        *,
        lives: float = 3600,
        name: str | None = None,
        roles: Sequence[str] = (),
        context: Mapping[str, str] | None = None,
    ) -> str:
        now = time.time()
        claims = {
            "user_id": user,
            "name": name or user,
            "roles": list(roles),
            "context": dict(context or {}),
            "iat": int(now),
            "exp": int(now + lives),
        }
        return jwt.encode(claims, self._secret, "HS256")

    async def get(self, path: str, token: str) -> dict:
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http,
            http.get(self.base + path) as answer,
        ):
            return await answer.json()

    async def stored(self, token: str, session_id: str) -> list[tuple[str, str]]:
        """Who said what, as stored."""
        history = await self.get(f"sessions/{session_id}", token)
        return [(message["sender"], message["content"]) for message in history["messages"]]


@asynccontextmanager
async def serving(folder: Path, settings: Mapping[str, str]) -> AsyncIterator[Server]:
    """``chatbox serve --dev`` on a free port with its data under ``folder``."""
    secret, port = secrets.token_urlsafe(48), free_port()
    ours = re.compile(r"CHATBOX_|LLM_|JWT_|JWKS_|ENCRYPTION_|STORE_|SERVER_|ALLOWED_|CORS_")
    env = {name: value for name, value in os.environ.items() if not ours.match(name)}
    env |= {"CHATBOX_DATA_DIR": str(folder / "data"), "SERVER_PORT": str(port), "JWT_SECRET": secret, **settings}
    output = folder / "output.txt"
    with output.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chatbox", "serve", "--dev", stdout=sink, stderr=sink, env=env, cwd=folder
        )
        try:
            link = await printed_link(process, output)
            yield Server(link.partition("#")[0], link, env["JWT_SECRET"], process)
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), 60)


async def printed_link(process: asyncio.subprocess.Process, output: Path) -> str:
    """The link to the chat, once the server answers under it."""
    async with aiohttp.ClientSession() as http:
        for _ in range(300):
            text = output.read_text("utf-8", errors="replace")
            found = re.search(r"http://\S+/#token=\S+", text)
            if found and await answers(http, found[0].partition("#")[0]):
                return found[0]
            assert process.returncode is None, text
            await asyncio.sleep(0.1)
    raise AssertionError(f"the server did not start:\n{text}")


async def answers(http: aiohttp.ClientSession, address: str) -> bool:
    try:
        async with http.get(address) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class ChatPage:
    """What a person sees and does in one tab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.field = page.get_by_role("textbox", name="Message", exact=True)
        self.answers = page.get_by_role("article", name="Assistant")
        self.said = page.get_by_role("article", name="You")
        self.rows = page.locator("chatbox-session-row")
        self.link = page.locator("chatbox-link-line")
        self.stop = page.get_by_role("button", name="Stop answering")

    async def say(self, text: str) -> None:
        await self.field.fill(text)
        await self.field.press("Enter")

    async def ask(self, text: str) -> Locator:
        """Say something and wait for the whole answer."""
        before = await self.answers.count()
        await self.say(text)
        answer = self.answers.nth(before)
        await expect(answer.locator("time")).to_be_visible()
        return answer

    async def menu(self, entry: str) -> None:
        """Choose from the conversation's own menu."""
        await self.page.get_by_role("button", name="Conversation menu").click()
        await self.page.get_by_role("menuitem", name=entry).click()

    @property
    def session_id(self) -> str:
        return self.page.url.rpartition("/c/")[2].partition("?")[0]


class Person:
    """A user with a browser of their own."""

    def __init__(self, server: Server, context: BrowserContext, user: str) -> None:
        self.server = server
        self.context = context
        self.user = user
        self.token = server.token(user)

    async def open(self, *, base: str | None = None, path: str = "", query: str = "") -> ChatPage:
        """Open the chat in a new tab by a link with the token, and wait until it is connected."""
        page = await self.context.new_page()
        await page.goto(f"{base or self.server.base}{path}{query}#token={self.token}")
        await expect(page.locator("chatbox-composer")).to_be_visible()
        await expect(page).to_have_url(re.compile("/c/"))
        return ChatPage(page)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with serving(tmp_path_factory.mktemp("server"), {**ECHO, "RATE_LIMIT": "10000"}) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    context = await chromium.new_context(locale="en-GB", viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE)
    yield context
    await context.close()


@pytest.fixture
def person(server: Server, context: BrowserContext) -> Person:
    return Person(server, context, f"user-{secrets.token_hex(6)}")


@pytest_asyncio.fixture(loop_scope="session")
async def chat(person: Person) -> ChatPage:
    return await person.open()


@pytest_asyncio.fixture(loop_scope="session")
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as running:
        yield running


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    """Wait until something holds."""
    for _ in range(int(seconds * 20)):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not happen in time")
