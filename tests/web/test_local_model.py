"""The page and the local model, as a stranger's first minute has them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from .conftest import ChatPage, Server, serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.model,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="the extra `local` is not installed"),
]

PATIENCE = 200_000


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """Development mode with no model configured: the demonstration model answers. ``CHATBOX_TEST_LINK`` is the link
    that a running `make run` printed: then that process is tested."""
    if link := os.environ.get("CHATBOX_TEST_LINK"):
        yield Server(link.partition("#")[0], link, "")
        return
    async with serving(tmp_path_factory.mktemp("local"), {}) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def chat(server: Server, chromium: Browser) -> AsyncIterator[ChatPage]:
    context = await chromium.new_context(locale="en-GB")
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    await page.goto(server.link)
    chat = ChatPage(page)
    await chat.page.get_by_role("button", name="New chat").click()
    await expect(chat.said).to_have_count(0)
    yield chat
    await context.close()


async def test_a_stranger_asks_and_sees_the_answer_grow(chat: ChatPage) -> None:
    await expect(chat.page.get_by_text("Answers come from a tiny demonstration model.")).to_be_visible()
    await chat.page.get_by_text("Use a real one").click()
    for setting in ("LLM_PROVIDER_1_TYPE", "LLM_PROVIDER_1_ENDPOINT", "LLM_PROVIDER_1_API_KEY"):
        await expect(chat.page.get_by_text(setting)).to_be_visible()
    await chat.page.evaluate(
        """window.lengths = new Set();
        setInterval(() => {
            const view = document.querySelector("chatbox-app").shadowRoot.querySelector("chatbox-chat");
            const answer = view.chat.log.messages.findLast((message) => message.sender === "ai");
            if (answer) window.lengths.add(answer.content.length);
        }, 5)"""
    )
    await chat.say("What is the capital of France?")
    await expect(chat.answers.last.locator("time")).to_be_visible(timeout=PATIENCE)
    await expect(chat.answers.last).to_contain_text("France")
    assert await chat.page.evaluate("lengths.size") > 2


async def test_a_stranger_stops_regenerates_and_reloads(chat: ChatPage) -> None:
    await chat.say("Write five sentences about the sea.")
    await expect(chat.answers.last.locator("chatbox-markdown")).not_to_have_text("", timeout=PATIENCE)
    await chat.stop.click()
    await expect(chat.answers.last).to_contain_text("Stopped", timeout=PATIENCE)
    await chat.page.get_by_role("button", name="Answer again").click()
    await expect(chat.page.get_by_role("button", name="Show the earlier answer")).to_be_visible(timeout=PATIENCE)
    await expect(chat.answers.last.locator("chatbox-markdown")).not_to_have_text("", timeout=PATIENCE)
    seen = await chat.answers.last.locator("chatbox-markdown").inner_text()
    await chat.page.reload()
    await expect(chat.answers.last.locator("time")).to_be_visible(timeout=PATIENCE)
    await expect(chat.answers).to_have_count(1)
    assert (await chat.answers.last.locator("chatbox-markdown").inner_text()).startswith(seen[:40])
    await expect(chat.rows.first).to_contain_text("Write five sentences")


async def test_a_stranger_finds_renames_shares_exports_and_deletes_it_in_a_second_tab(
    chat: ChatPage, server: Server, chromium: Browser
) -> None:
    await chat.say("Name three colours.")
    await expect(chat.answers.last.locator("time")).to_be_visible(timeout=PATIENCE)
    answer = await chat.answers.last.locator("chatbox-markdown").inner_text()
    other = ChatPage(await chat.page.context.new_page())
    await other.page.goto(f"{chat.page.url}#{server.link.partition('#')[2]}")
    await expect(other.answers.last.locator("chatbox-markdown")).to_have_text(answer, use_inner_text=True)

    await other.page.get_by_role("searchbox").fill("three colours")
    await expect(other.rows.locator(".name").first).to_have_text("Name three colours.")
    await other.menu("Rename")
    await other.page.get_by_role("textbox", name="Name of the conversation").fill("Colours")
    await other.page.keyboard.press("Enter")
    await expect(chat.page.get_by_role("heading", name="Colours")).to_be_visible()

    await other.menu("Share")
    await other.page.get_by_role("button", name="Create link").click()
    address = await other.page.get_by_label("Public link").input_value()
    await other.page.get_by_role("dialog").get_by_role("button", name="Close").click()
    stranger = await chromium.new_context()
    reader = await stranger.new_page()
    await reader.goto(address)
    await expect(reader.get_by_role("article", name="Assistant")).to_be_visible()

    async with other.page.expect_download() as download:
        await other.menu("Export as Markdown")
    assert "Name three colours." in (await (await download.value).path()).read_text("utf-8")

    await other.menu("Delete")
    await expect(chat.page.get_by_text("This conversation was deleted.")).to_be_visible(timeout=PATIENCE)
    await reader.reload()
    await expect(reader.get_by_role("heading", name="There is nothing here")).to_be_visible()
    await stranger.close()
