"""A person keeps order among their conversations."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from .conftest import ChatPage, Person, until

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_conversation_is_listed_under_its_first_words(chat: ChatPage) -> None:
    await expect(chat.rows).to_have_count(0)
    await chat.ask("Plans for the garden. And more.")
    await expect(chat.rows).to_have_count(1)
    await expect(chat.rows.first).to_contain_text("Plans for the garden.")
    await expect(chat.rows.first).to_contain_text("2 messages")
    await expect(chat.rows.first).to_contain_text("active")


async def test_the_newest_activity_comes_first_and_an_old_conversation_opens(chat: ChatPage) -> None:
    await chat.ask("older talk")
    first = chat.session_id
    await chat.page.get_by_role("button", name="New chat").click()
    await expect(chat.page).not_to_have_url(re.compile(first))
    await chat.ask("newer talk")
    await expect(chat.rows.locator(".name")).to_have_text(["newer talk", "older talk"])
    await chat.page.get_by_role("link", name="older talk").click()
    await expect(chat.page).to_have_url(re.compile(first))
    await expect(chat.said).to_contain_text(["older talk"])
    await chat.ask("once more")
    await expect(chat.rows.locator(".name")).to_have_text(["older talk", "newer talk"])
    await chat.page.go_back()
    await expect(chat.said).to_contain_text(["newer talk"])


async def test_a_search_finds_names(chat: ChatPage) -> None:
    for topic in ("apples", "pears"):
        await chat.page.get_by_role("button", name="New chat").click()
        await expect(chat.said).to_have_count(0)
        await chat.ask(topic)
    await expect(chat.rows).to_have_count(2)
    await chat.page.get_by_role("searchbox").fill("pea")
    await expect(chat.rows.locator(".name")).to_have_text(["pears"])
    await chat.page.get_by_role("searchbox").fill("plums")
    await expect(chat.page.get_by_text("No conversation has “plums” in its name.")).to_be_visible()


async def test_the_open_conversation_keeps_its_menu_while_a_search_hides_its_row(chat: ChatPage) -> None:
    await chat.ask("plums and pears")
    await expect(chat.rows).to_have_count(1)
    await chat.page.get_by_role("searchbox").fill("apples")
    await expect(chat.rows).to_have_count(0)
    await chat.menu("Rename")
    await expect(chat.page.get_by_role("textbox", name="Name of the conversation")).to_have_value("plums and pears")


async def test_a_new_name_is_shown_everywhere(person: Person, chat: ChatPage) -> None:
    await chat.ask("some words")
    other = await person.open()
    await expect(other.answers).to_have_count(1)
    await chat.menu("Rename")
    await chat.page.get_by_role("textbox", name="Name of the conversation").fill("Better name")
    await chat.page.keyboard.press("Enter")
    await expect(chat.page.get_by_role("heading", name="Better name")).to_be_visible()
    await expect(chat.rows.first).to_contain_text("Better name")
    await expect(other.page.get_by_role("heading", name="Better name")).to_be_visible()
    await expect(other.page.get_by_text("Renamed to “Better name”")).to_be_visible()


async def test_escape_leaves_the_name_as_it_was(chat: ChatPage) -> None:
    await chat.ask("the old name")
    await chat.menu("Rename")
    await chat.page.get_by_role("textbox", name="Name of the conversation").fill("nonsense")
    await chat.page.keyboard.press("Escape")
    await expect(chat.page.get_by_role("heading", name="the old name")).to_be_visible()


async def test_a_shared_link_is_readable_without_a_token_until_it_is_withdrawn(
    chat: ChatPage, chromium: Browser
) -> None:
    await chat.ask("words for everyone")
    await chat.menu("Share")
    dialog = chat.page.get_by_role("dialog", name="Share this conversation")
    await dialog.get_by_role("button", name="Create link").click()
    address = await dialog.get_by_label("Public link").input_value()
    stranger = await chromium.new_context()
    page = await stranger.new_page()
    await page.goto(address)
    await expect(page.get_by_role("article", name="Assistant")).to_contain_text("words for everyone")
    await expect(page.get_by_text("Shared, read-only")).to_be_visible()
    await expect(page.get_by_role("textbox")).to_have_count(0)
    await dialog.get_by_role("button", name="Withdraw link").click()
    await expect(dialog.get_by_text("The link no longer works.")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()
    await stranger.close()


async def test_the_link_is_copied(chat: ChatPage) -> None:
    await chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await chat.ask("words")
    await chat.menu("Share")
    await chat.page.get_by_role("button", name="Create link").click()
    await chat.page.get_by_role("button", name="Copy link").click()
    await expect(chat.page.get_by_role("dialog").get_by_text("Copied")).to_be_visible()
    assert "/s/" in await chat.page.evaluate("navigator.clipboard.readText()")
    await chat.page.keyboard.press("Escape")
    await expect(chat.page.get_by_role("dialog")).to_have_count(0)
    await expect(chat.rows.first).to_contain_text("shared")


@pytest.mark.parametrize(("entry", "ending"), [("Export as JSON", "json"), ("Export as Markdown", "md")])
async def test_a_conversation_is_exported(chat: ChatPage, tmp_path: Path, entry: str, ending: str) -> None:
    await chat.ask("keep this, please")
    async with chat.page.expect_download() as download:
        await chat.menu(entry)
    file = await download.value
    assert file.suggested_filename == f"keep-this-please.{ending}"
    await file.save_as(tmp_path / "export")
    text = (tmp_path / "export").read_text("utf-8")
    assert "keep this, please" in text
    if ending == "json":
        json.loads(text)


async def test_a_delete_can_be_undone(chat: ChatPage) -> None:
    await chat.ask("nearly gone")
    await chat.menu("Delete")
    await expect(chat.rows).to_have_count(0)
    await chat.page.get_by_role("button", name="Undo").click()
    await chat.page.get_by_role("link", name="nearly gone").click()
    await expect(chat.answers).to_have_count(1)


async def test_a_delete_is_carried_out_after_a_while(person: Person, chat: ChatPage) -> None:
    await chat.ask("gone for good")
    session_id = chat.session_id
    other = await person.open()
    await expect(other.answers).to_have_count(1)
    await chat.menu("Delete")
    await expect(chat.page.get_by_text("“gone for good” deleted")).to_be_visible()
    await expect(other.page.get_by_text("This conversation was deleted.")).to_be_visible()
    await expect(chat.rows).to_have_count(0)
    assert (await person.server.get(f"sessions/{session_id}", person.token))["code"] == "NOT_FOUND"


async def test_a_delete_is_carried_out_when_the_page_is_left(person: Person, chat: ChatPage) -> None:
    await chat.ask("gone at once")
    session_id = chat.session_id
    await chat.menu("Delete")
    await expect(chat.rows).to_have_count(0)
    await chat.page.goto("about:blank")

    async def gone() -> bool:
        return (await person.server.get(f"sessions/{session_id}", person.token)).get("code") == "NOT_FOUND"

    await until(gone, 4)


async def test_the_list_and_the_menu_are_worked_by_the_keyboard(chat: ChatPage) -> None:
    for topic in ("one", "two"):
        await chat.page.keyboard.press("Alt+KeyN")
        await expect(chat.said).to_have_count(0)
        await chat.ask(topic)
    await expect(chat.rows.locator(".name")).to_have_text(["two", "one"])
    await chat.page.keyboard.press("Alt+KeyK")
    await chat.page.keyboard.press("Tab")
    await chat.page.keyboard.press("ArrowDown")
    await expect(chat.page.get_by_role("link", name="one")).to_be_focused()
    await chat.page.keyboard.press("Enter")
    await expect(chat.said).to_contain_text(["one"])
    await chat.page.get_by_role("button", name="Conversation menu").press("Enter")
    await expect(chat.page.get_by_role("menuitem", name="Rename")).to_be_focused()
    await chat.page.keyboard.press("ArrowDown")
    await expect(chat.page.get_by_role("menuitem", name="Share")).to_be_focused()
    await chat.page.keyboard.press("Escape")
    await expect(chat.page.get_by_role("button", name="Conversation menu")).to_be_focused()


async def test_a_long_list_is_paged(person: Person, chat: ChatPage) -> None:
    for number in range(35):
        await chat.page.get_by_role("button", name="New chat").click()
        await expect(chat.said).to_have_count(0)
        await chat.say(f"topic {number}")
        await expect(chat.answers).to_have_count(1)
    await chat.page.reload()
    await expect(chat.rows).to_have_count(30)
    await chat.page.get_by_role("button", name="Show more").click()
    await expect(chat.rows).to_have_count(35)
