"""Another application contains the chat and says who its user is."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import BrowserContext, FrameLocator, Page, expect

from .conftest import ECHO, Server, free_port, serving

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

HOST_PAGE = """<!doctype html><title>Host</title>
<button onclick="window.open(CHAT)">open</button>
<script>
  const parameters = new URLSearchParams(location.search);
  const CHAT = parameters.get("chat");
  window.tokens = parameters.getAll("token");
  window.heard = [];
  addEventListener("message", (event) => {
    heard.push(event.data.type);
    if (tokens.length) event.source.postMessage({ type: "chatbox.token", token: tokens.shift() }, new URL(CHAT).origin);
  });
  if (parameters.has("frame")) {
    const frame = document.createElement("iframe");
    frame.src = CHAT;
    frame.width = 700; frame.height = 600;
    document.body.append(frame);
  }
</script>"""


class Host:
    """Somebody's application, on an origin of its own."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"

    async def show(self, page: Page, chat: Server, tokens: list[str], *, frame: bool = True) -> FrameLocator:
        query = [("chat", chat.base), *(("token", token) for token in tokens), *([("frame", "1")] if frame else [])]
        await page.goto(f"{self.origin}/?{urlencode(query)}")
        return page.frame_locator("iframe")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hosts() -> AsyncIterator[tuple[Host, Host]]:
    """An application that may contain the chat, and one that may not."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=HOST_PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    ports = free_port(), free_port()
    for port in ports:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    yield Host(ports[0]), Host(ports[1])
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict(hosts: tuple[Host, Host], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that names the first application's origin, and its own."""
    port = free_port()
    settings = {**ECHO, "SERVER_PORT": str(port), "ALLOWED_ORIGINS": f"{hosts[0].origin},http://127.0.0.1:{port}"}
    async with serving(tmp_path_factory.mktemp("strict"), settings) as running:
        yield running


def someone() -> str:
    return f"user-{secrets.token_hex(6)}"


async def test_the_parent_hands_over_the_token(
    strict: Server, hosts: tuple[Host, Host], context: BrowserContext
) -> None:
    frame = await hosts[0].show(await context.new_page(), strict, [strict.token(someone(), name="Ada")])
    await frame.get_by_role("textbox", name="Message", exact=True).fill("hello from a frame")
    await frame.get_by_role("textbox", name="Message", exact=True).press("Enter")
    await expect(frame.get_by_role("article", name="Assistant")).to_contain_text("hello from a frame")


async def test_the_parent_is_asked_for_the_next_token_before_the_old_one_expires(
    strict: Server, hosts: tuple[Host, Host], context: BrowserContext
) -> None:
    user = someone()
    page = await context.new_page()
    frame = await hosts[0].show(page, strict, [strict.token(user, lives=40), strict.token(user)])
    await expect(frame.get_by_role("textbox", name="Message", exact=True)).to_be_visible()
    await page.wait_for_function("heard.includes('chatbox.token_request')", timeout=25_000)
    await expect(frame.locator("chatbox-link-line")).to_have_text("")
    assert await page.evaluate("tokens.length") == 0


async def test_another_user_of_the_parent_gets_their_own_chat(
    strict: Server, hosts: tuple[Host, Host], context: BrowserContext
) -> None:
    page = await context.new_page()
    frame = await hosts[0].show(page, strict, [strict.token(someone())])
    field = frame.get_by_role("textbox", name="Message", exact=True)
    await field.fill("private words")
    await field.press("Enter")
    await expect(frame.get_by_role("article", name="Assistant")).to_contain_text("private words")
    await page.evaluate(
        "token => frames[0].postMessage({ type: 'chatbox.token', token }, '*')", strict.token(someone(), name="Grace")
    )
    await expect(frame.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    await expect(frame.locator("chatbox-session-row")).to_have_count(0)


async def test_a_foreign_application_can_not_show_the_chat(
    strict: Server, hosts: tuple[Host, Host], context: BrowserContext
) -> None:
    page = await context.new_page()
    blocked: list[str] = []
    page.on("console", lambda message: blocked.append(message.text))
    await hosts[1].show(page, strict, [strict.token(someone())])
    await expect(page.frame_locator("iframe").locator("chatbox-app")).to_have_count(0)
    assert any("frame-ancestors" in text for text in blocked)


@pytest.mark.parametrize("allowed", [True, False])
async def test_the_opener_hands_over_the_token_only_from_an_allowed_origin(
    strict: Server, hosts: tuple[Host, Host], context: BrowserContext, allowed: bool
) -> None:
    page = await context.new_page()
    await hosts[0 if allowed else 1].show(page, strict, [strict.token(someone())], frame=False)
    async with context.expect_page() as opened:
        await page.get_by_role("button").click()
    child = await opened.value
    expected = "What would you like to know?" if allowed else "Please sign in first"
    await expect(child.get_by_role("heading", name=expected)).to_be_visible()
    assert "chatbox.ready" in await page.evaluate("heard")
