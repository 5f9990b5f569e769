"""The network fails and comes back; the person notices little and loses nothing."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import expect

from .conftest import ChatPage, Person
from .proxy import Proxy

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

WORDS = [f"word{n}" for n in range(60)]


async def test_an_answer_survives_cuts(person: Person, proxy: Proxy) -> None:
    chat = await person.open(base=proxy.base(person.server.base))
    await chat.say("/slow 60 " + " ".join(WORDS))
    for seen in ("word3", "word15"):
        await expect(chat.answers.last).to_contain_text(seen)
        proxy.cut()
    await expect(chat.answers.last).to_contain_text(" ".join(WORDS))
    await expect(chat.answers).to_have_count(1)
    await expect(chat.said).to_have_count(1)
    await expect(chat.link).to_have_text("")


async def test_messages_written_without_a_connection_are_sent_once_and_in_order(person: Person, proxy: Proxy) -> None:
    chat = await person.open(base=proxy.base(person.server.base))
    await chat.ask("hello")
    proxy.refusing = True
    proxy.cut()
    await expect(chat.link).to_contain_text("The connection was lost.")
    await chat.say("first of two")
    await chat.say("second of two")
    await expect(chat.page.get_by_text("Waiting for the connection")).to_have_count(2)
    proxy.refusing = False
    await expect(chat.page.get_by_text("Waiting for the connection")).to_have_count(0)
    await expect(chat.answers.last.locator("time")).to_be_visible()
    stored = await person.server.stored(person.token, chat.session_id)
    assert [text for sender, text in stored if sender == "user"] == ["hello", "first of two", "second of two"]


async def test_an_unsent_message_survives_a_reload_of_the_page(person: Person, proxy: Proxy) -> None:
    chat = await person.open(base=proxy.base(person.server.base))
    await chat.ask("hello")
    session_id = chat.session_id
    proxy.refusing = True
    proxy.cut()
    await expect(chat.link).to_contain_text("The connection was lost.")
    await chat.say("not lost")
    proxy.refusing = False
    await chat.page.reload()
    await expect(chat.answers).to_have_count(2)
    assert chat.session_id == session_id
    stored = await person.server.stored(person.token, session_id)
    assert [text for sender, text in stored if sender == "user"] == ["hello", "not lost"]


async def test_a_message_sent_just_before_a_cut_is_there_once(person: Person, proxy: Proxy) -> None:
    chat = await person.open(base=proxy.base(person.server.base))
    await chat.ask("hello")
    for number in range(5):
        await chat.say(f"message {number}")
        proxy.cut()
    await expect(chat.page.get_by_text("Waiting for the connection")).to_have_count(0)
    await expect(chat.page.get_by_text("Sending …")).to_have_count(0)
    await expect(chat.said).to_have_count(6)
    await expect(chat.answers.last.locator("time")).to_be_visible()
    await expect(chat.stop).to_have_count(0)
    stored = await person.server.stored(person.token, chat.session_id)
    assert [text for sender, text in stored if sender == "user"] == ["hello", *(f"message {n}" for n in range(5))]


async def test_the_page_says_that_it_is_offline_and_goes_on_later(person: Person, chat: ChatPage) -> None:
    await chat.ask("hello")
    await person.context.set_offline(True)
    await expect(chat.link).to_contain_text("You are offline.")
    await chat.say("from the tunnel")
    await person.context.set_offline(False)
    await expect(chat.link).to_have_text("")
    await expect(chat.answers).to_have_count(2)
    stored = await person.server.stored(person.token, chat.session_id)
    assert [text for sender, text in stored if sender == "user"] == ["hello", "from the tunnel"]


async def test_a_page_that_can_not_reach_the_server_waits_for_it(person: Person, proxy: Proxy) -> None:
    page = await person.context.new_page()
    await page.route("**/page.json", lambda route: route.abort())
    await page.goto(f"{proxy.base(person.server.base)}#token={person.token}")
    await expect(page.get_by_role("heading", name="The chat can't be reached")).to_be_visible()
    await page.unroute("**/page.json")
    await expect(page.get_by_role("textbox", name="Message", exact=True)).to_be_visible()


async def test_a_message_refused_by_the_rate_limit_is_sent_later(person: Person, chat: ChatPage) -> None:
    page = chat.page
    refused = []

    def meddle(ws) -> None:
        server = ws.connect_to_server()

        def from_page(text: str) -> None:
            if '"user_message"' in text and not refused:
                refused.append(text)
                error = {"code": "TOO_MANY_REQUESTS", "message": "later", "recoverable": True, "retry_after": 300}
                ws.send(json.dumps({"type": "error", "message_id": json.loads(text)["message_id"], "error": error}))
            else:
                server.send(text)

        ws.on_message(from_page)

    await page.route_web_socket("**/ws?*", meddle)
    await page.reload()
    await chat.ask("patience")
    assert len(refused) == 1
    await expect(chat.said).to_have_count(1)
