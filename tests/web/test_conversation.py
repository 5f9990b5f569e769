"""A person talks to the model in the page."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, expect

from .conftest import ChatPage, Person, Server
from .test_look import PHONE

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SLOW = "/slow 60 " + " ".join(f"word{n}" for n in range(40))
WHOLE = " ".join(f"word{n}" for n in range(40))


async def test_the_printed_link_leads_to_a_conversation(server: Server, context) -> None:
    page = await context.new_page()
    await page.goto(server.link)
    chat = ChatPage(page)
    await expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    await expect(await chat.ask("hello there")).to_contain_text("hello there")


async def test_a_link_opened_in_a_tab_that_shows_the_page_signs_its_user_in(server: Server, chat: ChatPage) -> None:
    await chat.ask("hello there")
    await chat.page.goto(f"{chat.page.url}#token={server.token('another-reader')}")
    await expect(chat.page.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    await expect(chat.said).to_have_count(0)


async def test_what_is_typed_as_soon_as_the_page_opens_is_written_and_survives_a_reload(chat: ChatPage) -> None:
    await expect(chat.field).to_be_focused()
    await chat.page.keyboard.type("hello there")
    await expect(chat.field).to_have_value("hello there")
    await chat.page.reload()
    await expect(chat.field).to_have_value("hello there")
    await expect(chat.field).to_be_focused()
    await chat.page.keyboard.press("Enter")
    await expect(chat.said).to_have_count(1)
    await chat.page.reload()
    await expect(chat.said).to_have_count(1)
    await expect(chat.field).to_have_value("")


async def test_a_phone_is_not_covered_by_its_keyboard_before_somebody_writes(server: Server, chromium: Browser) -> None:
    context = await chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True, locale="en-GB")
    chat = await Person(server, context, "phone-reader").open()
    await expect(chat.field).not_to_be_focused()
    await chat.page.get_by_role("button", name="Show conversations").click()
    await chat.page.locator("nav").get_by_role("button", name="New chat").click()
    await expect(chat.page.get_by_role("button", name="Show conversations")).to_be_focused()
    await context.close()


async def test_an_answer_appears_word_by_word(chat: ChatPage) -> None:
    await chat.say(SLOW)
    answer = chat.answers.last
    await expect(answer).to_contain_text("word3")
    assert "word39" not in await answer.inner_text()
    await expect(answer).to_contain_text(WHOLE)


async def test_a_sign_is_shown_before_the_first_word(chat: ChatPage) -> None:
    await chat.say("/slow 1500 late")
    await expect(chat.page.get_by_role("img", name="The answer is on its way")).to_be_visible()
    await expect(chat.answers.last).to_contain_text("late")
    await expect(chat.page.get_by_role("img", name="The answer is on its way")).to_have_count(0)


async def test_stop_keeps_what_was_said(chat: ChatPage) -> None:
    await chat.say(SLOW)
    await expect(chat.answers.last).to_contain_text("word2")
    await chat.stop.click()
    await expect(chat.answers.last).to_contain_text("Stopped")
    await expect(chat.stop).to_have_count(0)
    assert "word39" not in await chat.answers.last.inner_text()


async def test_a_new_answer_replaces_the_old_which_can_still_be_seen(chat: ChatPage) -> None:
    await chat.ask("again please")
    await chat.page.get_by_role("button", name="Answer again").click()
    await expect(chat.page.get_by_role("button", name="Show the earlier answer")).to_be_visible()
    await expect(chat.answers).to_have_count(1)
    await chat.page.get_by_role("button", name="Show the earlier answer").click()
    await expect(chat.answers.locator("chatbox-markdown")).to_have_count(2)
    await chat.page.reload()
    await expect(chat.answers).to_have_count(1)
    await expect(chat.page.get_by_role("button", name="Show the earlier answer")).to_be_visible()


async def test_a_reload_amid_an_answer_shows_it_whole(chat: ChatPage) -> None:
    await chat.say(SLOW)
    await expect(chat.answers.last).to_contain_text("word4")
    await chat.page.reload()
    await expect(chat.answers.last).to_contain_text(WHOLE)
    await expect(chat.said).to_have_count(1)
    await expect(chat.answers).to_have_count(1)


async def test_a_second_tab_shows_the_same_live(person: Person, chat: ChatPage) -> None:
    await chat.ask("first")
    other = await person.open()
    await expect(other.answers).to_have_count(1)
    await chat.say(SLOW)
    await expect(other.said).to_have_count(2)
    await expect(other.answers.last).to_contain_text("word5")
    await expect(other.answers.last).to_contain_text(WHOLE)
    await expect(chat.answers.last).to_contain_text(WHOLE)


async def test_the_other_tab_sees_that_someone_types(person: Person, chat: ChatPage) -> None:
    await chat.ask("first")
    other = await person.open()
    await expect(other.answers).to_have_count(1)
    await chat.field.press_sequentially("abc")
    await expect(other.page.get_by_text("Someone is typing …")).to_be_visible()


async def test_a_message_written_while_an_answer_runs_is_answered_next(chat: ChatPage) -> None:
    await chat.say(SLOW)
    await expect(chat.answers.last).to_contain_text("word1")
    await chat.say("and then this")
    await expect(chat.answers).to_have_count(2)
    await expect(chat.answers.first).to_contain_text(WHOLE)
    await expect(chat.answers.last.locator("time")).to_be_visible()


async def test_a_failed_answer_says_so_and_can_be_asked_for_again(chat: ChatPage) -> None:
    answer = await chat.ask("/fail refused")
    await expect(answer).to_contain_text("The model could not answer")
    await answer.get_by_role("button", name="Try again").click()
    await expect(chat.answers).to_have_count(1)
    await chat.page.reload()
    await expect(chat.answers.last.get_by_role("button", name="Try again")).to_be_visible()


async def test_a_file_of_the_model_is_a_card(chat: ChatPage) -> None:
    await chat.ask("/file https://files.example/report.pdf")
    card = chat.page.locator("chatbox-attachment a")
    await expect(card).to_contain_text("report.pdf")
    await expect(card).to_contain_text("files.example")
    await expect(card).to_have_attribute("rel", "noopener noreferrer")


async def test_markdown_is_laid_out(chat: ChatPage) -> None:
    answer = await chat.ask("/markdown")
    await expect(answer.get_by_role("heading", name="A sample of Markdown")).to_be_visible()
    await expect(answer.get_by_role("table")).to_contain_text("Pear")
    await expect(answer.locator(".hljs-keyword").first).to_have_text("def")


async def test_code_is_copied_whole(chat: ChatPage) -> None:
    await chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer = await chat.ask("/markdown")
    await answer.locator(".code-copy").click()
    await expect(answer.locator(".code-copy")).to_have_text("Copied")
    copied = await chat.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("def greet(name: str)")


async def test_enter_sends_and_shift_enter_makes_a_line(chat: ChatPage) -> None:
    await chat.field.press_sequentially("one")
    await chat.field.press("Shift+Enter")
    await chat.field.press_sequentially("two")
    await expect(chat.field).to_have_value("one\ntwo")
    await chat.field.press("Enter")
    await expect(chat.said.last).to_contain_text("one\ntwo")
    await expect(chat.field).to_have_value("")


async def test_an_enter_of_an_input_method_does_not_send(chat: ChatPage) -> None:
    await chat.field.fill("にほん")
    await chat.field.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    await expect(chat.field).to_have_value("にほん")
    await expect(chat.said).to_have_count(0)


async def test_a_text_that_is_too_long_is_counted_and_not_sent(chat: ChatPage) -> None:
    await chat.field.fill("😀" * 9_990 + "x" * 20)
    await expect(chat.page.get_by_text("10010 of 10000 characters")).to_be_visible()
    await expect(chat.page.get_by_role("button", name="Send")).to_be_disabled()
    await chat.field.fill("😀" * 10_000)
    await expect(chat.page.get_by_role("button", name="Send")).to_be_enabled()


@pytest.mark.parametrize("by", ["wheel", "key"])
async def test_the_reader_is_left_alone_while_reading_above(chat: ChatPage, by: str) -> None:
    await chat.ask("/list 200")
    scroller = chat.page.locator("chatbox-messages .scroller")
    await scroller.evaluate("element => element.scrollTo({ top: 0, behavior: 'instant' })")
    await chat.say("/slow 30 " + "tail " * 30)
    await expect(chat.said).to_have_count(2)
    if by == "wheel":
        await scroller.hover()
        await chat.page.mouse.wheel(0, -100_000)
    else:
        await chat.answers.last.click()
        await chat.page.keyboard.press("Home")
    pill = chat.page.get_by_role("button", name=re.compile("New messages|latest message"))
    await expect(pill).to_be_visible()
    await expect(chat.answers.last.locator("time")).to_be_visible()
    assert await scroller.evaluate("element => element.scrollTop") < 100
    await pill.click()
    await expect(pill).to_have_count(0)


async def test_help_is_asked_for_and_withdrawn(chat: ChatPage) -> None:
    await chat.ask("hello")
    await chat.page.get_by_role("button", name="Get help from a person").click()
    await expect(chat.page.get_by_text("You asked for help from a person.")).to_be_visible()
    await chat.page.reload()
    await chat.page.get_by_role("button", name="Withdraw the call for help").click()
    await expect(chat.page.get_by_role("button", name="Get help from a person")).to_be_visible()


async def test_one_model_needs_no_selector(chat: ChatPage) -> None:
    await expect(chat.page.get_by_label("Model", exact=True)).to_have_count(0)
