"""Staff at their desk and users in their browsers, against a real server."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from .conftest import ECHO, PATIENCE, ChatPage, Person, Server, serving, until
from .proxy import Proxy
from .staff import PHONE, DeskPage, sit_down, staff_context

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SAID = """() => {
  const desk = document.querySelector("chatbox-app").shadowRoot.querySelector("chatbox-staff");
  const said = ({ sender, kind }) => sender === "user" && kind === "text";
  return [...desk.shadowRoot.querySelectorAll("chatbox-pane")].map(({ conversation }) =>
    conversation.log.messages.filter(said).map(({ content }) => content).sort());
}"""
"""What users said in each of the open conversations."""
SLOW = "/slow 100 " + " ".join(f"word{n}" for n in range(60))


class House:
    """A server of their own with people in it; each has a browser."""

    def __init__(self, server: Server, chromium: Browser, opened: AsyncExitStack) -> None:
        self.server = server
        self._chromium = chromium
        self._opened = opened

    async def user(self, name: str, **context_of_page: str) -> ChatPage:
        context = await self._chromium.new_context(locale="en-GB", viewport={"width": 1000, "height": 700})
        context.set_default_timeout(PATIENCE)
        self._opened.push_async_callback(context.close)
        person = Person(self.server, context, f"user-{name.lower()}")
        person.token = self.server.token(person.user, name=name, context=context_of_page)
        return await person.open()

    async def staff(
        self, name: str, *, role: str = "chat_admin", size: dict[str, int] | None = None, base: str = "", to: str = ""
    ) -> DeskPage:
        context = await staff_context(self._chromium, **({"size": size} if size else {}))
        self._opened.push_async_callback(context.close)
        return await sit_down(context, self.server, f"staff-{name.lower()}", name, role=role, base=base, to=to)


@pytest_asyncio.fixture(loop_scope="session")
async def house(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> AsyncIterator[House]:
    settings = {**ECHO, "RATE_LIMIT": "10000", "ADMIN_RATE_LIMIT": "200"}
    async with serving(tmp_path_factory.mktemp("house"), settings) as server, AsyncExitStack() as opened:
        yield House(server, chromium, opened)


async def ask_for_help(chat: ChatPage) -> None:
    await chat.page.get_by_role("button", name="Get help from a person").click()


async def test_a_call_for_help_is_on_top_with_its_waiting_time_and_counted_in_the_title(house: House) -> None:
    desk = await house.staff("Bea")
    await expect(desk.page.get_by_text("Nobody is waiting.")).to_be_visible()
    ann = await house.user("Ann")
    await ann.ask("my invoice is wrong")
    await expect(desk.row("Ann")).to_contain_text("my invoice is wrong")
    await ask_for_help(ann)
    await expect(desk.waiting).to_have_count(1)
    await expect(desk.waiting.first).to_contain_text(re.compile(r"Ann[\s\S]*0:\d\d"))
    await expect(desk.page).to_have_title("(1) Support desk")
    await expect(desk.page.locator("[aria-live=assertive]")).to_have_text("Asks for help: Ann")
    await desk.page.keyboard.press("Alt+KeyQ")
    await desk.take()
    await expect(desk.waiting).to_have_count(0)
    await expect(desk.page).to_have_title("Support desk")


async def test_a_tone_sounds_for_a_call_once_the_page_was_touched_and_not_when_it_is_muted(house: House) -> None:
    desk = await house.staff("Bea")
    count = "AudioContext.prototype.createOscillator"
    await desk.page.evaluate(
        f"() => {{ window.tones = 0; const make = {count};"
        f"{count} = function () {{ window.tones++; return make.call(this); }}; }}"
    )
    await desk.page.get_by_role("heading", name="All conversations").click()
    ann, ben = await house.user("Ann"), await house.user("Ben")
    await ask_for_help(ann)
    await expect(desk.waiting).to_have_count(1)
    assert await desk.page.evaluate("window.tones") == 2
    await desk.page.get_by_role("button", name="Sound", exact=True).click()
    await ask_for_help(ben)
    await expect(desk.waiting).to_have_count(2)
    assert await desk.page.evaluate("window.tones") == 2


async def test_watching_shows_the_answer_as_it_is_written_and_the_user_notices_nothing(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    desk = await house.staff("Bea")
    await desk.show("Ann")
    before = await ann.page.locator("chatbox-chat").inner_text()
    await expect(desk.owner).to_contain_text("The AI answers")
    assert await ann.page.locator("chatbox-chat").inner_text() == before
    await ann.say(SLOW)
    answer = desk.messages.get_by_role("article", name="Assistant").last
    await expect(answer).to_contain_text("word3")
    await expect(answer).to_contain_text("is writing")
    await expect(desk.reply).to_be_hidden()


async def test_a_takeover_in_the_middle_of_an_answer_both_write_and_the_ai_comes_back(house: House) -> None:
    ann = await house.user("Ann")
    desk = await house.staff("Bea")
    await ann.ask("hello")
    await desk.show("Ann")
    await ann.say(SLOW)
    await expect(desk.messages.get_by_role("article", name="Assistant").last).to_contain_text("word3")
    await desk.take()
    await expect(desk.messages.get_by_text("Stopped", exact=True)).to_be_visible()
    await desk.say("Hello Ann, a person is here.")
    await expect(ann.page.get_by_role("article", name="Bea")).to_contain_text("a person is here")
    await ann.field.press_sequentially("wait", delay=20)
    await expect(desk.messages.get_by_text("Ann is typing …")).to_be_visible()
    await ann.say("good to hear")
    await expect(desk.messages.get_by_role("article", name="Ann").last).to_contain_text("good to hear")
    await desk.reply.press_sequentially("one", delay=20)
    await expect(ann.page.locator("chatbox-messages .typing")).to_be_visible()
    answers = await ann.answers.count()
    await desk.reply.fill("")
    await desk.hand_back.click()
    await expect(desk.owner).to_contain_text("The AI answers")
    await expect(desk.messages.get_by_text("You handed back. The AI answers again.")).to_be_visible()
    await ann.ask("and now?")
    assert await ann.answers.count() > answers
    await expect(desk.messages.get_by_role("article", name="Assistant").last).to_contain_text("and now?")


async def test_a_note_is_seen_by_colleagues_and_by_nobody_else(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    bea, cem = await house.staff("Bea"), await house.staff("Cem")
    await bea.show("Ann")
    await cem.show("Ann")
    await bea.note("she is a good customer")
    await expect(cem.messages.get_by_role("article", name="Internal note by Bea")).to_contain_text("good customer")
    token = house.server.token("user-ann")
    assert "good customer" not in json.dumps(await house.server.get(f"sessions/{ann.session_id}", token))
    assert "good customer" not in await ann.page.locator("chatbox-chat").inner_text()
    await cem.page.reload()
    await expect(cem.messages.get_by_role("article", name="Internal note by Bea")).to_contain_text("good customer")


async def test_a_draft_of_a_note_never_becomes_a_reply(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    desk = await house.staff("Bea")
    await desk.show("Ann")
    await desk.take()
    await desk.pane.get_by_role("button", name="Internal note").click()
    await desk.pane.get_by_role("textbox", name="Internal note").fill("not for her")
    await desk.pane.get_by_role("button", name="Reply", exact=True).click()
    await expect(desk.reply).to_have_value("")


async def test_who_comes_second_sees_who_has_it(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    bea, cem = await house.staff("Bea"), await house.staff("Cem")
    await bea.show("Ann")
    await cem.show("Ann")
    await bea.take()
    await expect(cem.owner).to_have_text("Bea has this conversation")
    await expect(cem.take_over).to_have_count(0)
    await expect(cem.row("Ann")).to_contain_text("Bea")


async def test_a_conversation_is_given_to_a_colleague(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    bea, cem = await house.staff("Bea"), await house.staff("Cem")
    await bea.show("Ann")
    await cem.show("Ann")
    await bea.take()
    await bea.pane.get_by_role("button", name="Give to a colleague").click()
    await bea.page.get_by_role("menuitem", name="Cem").click()
    await expect(cem.owner).to_have_text("You have this conversation")
    await expect(bea.owner).to_have_text("Cem has this conversation")
    await cem.say("Cem here")
    await expect(ann.page.get_by_role("article", name="Cem")).to_contain_text("Cem here")


async def test_several_conversations_are_open_at_once_and_stay_so_after_a_reload(house: House) -> None:
    desk = await house.staff("Bea")
    for name in ("Ann", "Ben"):
        chat = await house.user(name)
        await chat.ask(f"hello from {name}")
        await desk.show(name)
    tabs = desk.page.locator("chatbox-tabs li")
    await expect(tabs).to_have_text([re.compile("Ann"), re.compile("Ben")])
    await desk.page.reload()
    await expect(tabs).to_have_count(2)
    await expect(desk.pane.get_by_role("heading", name="Ben")).to_be_visible()
    await chat.ask("something new")
    await expect(desk.messages.get_by_role("article", name="Ben").last).to_contain_text("something new")
    await desk.page.get_by_role("button", name="Side by side").click()
    await expect(desk.page.locator("chatbox-pane:visible")).to_have_count(2)
    await desk.page.get_by_role("button", name="Close the conversation with Ann").click()
    await expect(tabs).to_have_count(1)
    assert "open=" in desk.page.url


async def test_forty_open_conversations_are_read_and_after_a_cut_caught_up_with(house: House) -> None:
    server = house.server
    async with aiohttp.ClientSession() as http, AsyncExitStack() as lines, Proxy(server.port) as network:
        sockets = []
        for number in range(40):
            bearer = {"Authorization": f"Bearer {server.token(f'user{number}')}"}
            sockets.append(await lines.enter_async_context(http.ws_connect(f"{server.base}ws", headers=bearer)))
        ids = [(await socket.receive_json())["session_id"] for socket in sockets]

        async def all_say(text: str) -> None:
            for socket in sockets:
                await socket.send_json({"type": "user_message", "message_id": text, "content": text})

        await all_say("first")
        opened = "&".join(f"open={session_id}" for session_id in ids)
        desk = await house.staff("Bea", base=network.base(server.base), to=f"?{opened}&at={ids[0]}")

        async def have_read(texts: set[str]) -> bool:
            return await desk.page.evaluate(SAID) == [sorted(texts)] * 40

        await until(lambda: have_read({"first"}), 60)
        network.cut()
        await all_say("second")
        await until(lambda: have_read({"first", "second"}), 60)
        await expect(desk.page.get_by_text("This could not be read.")).to_have_count(0)


async def test_words_in_a_conversation_behind_are_marked(house: House) -> None:
    desk = await house.staff("Bea")
    ann, ben = await house.user("Ann"), await house.user("Ben")
    for name, chat in (("Ann", ann), ("Ben", ben)):
        await chat.ask("hello")
        await desk.show(name)
    mark = desk.page.locator("chatbox-tabs li").filter(has_text="Ann").get_by_role("img", name="new messages")
    await expect(mark).to_have_count(0)
    await ann.ask("are you there?")
    await expect(mark).to_be_visible()
    await desk.page.locator("chatbox-tabs li").filter(has_text="Ann").locator(".tab").click()
    await expect(mark).to_have_count(0)


async def test_a_held_conversation_is_not_closed_unasked(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    desk = await house.staff("Bea")
    await desk.show("Ann")
    await desk.take()
    await desk.page.keyboard.press("Alt+KeyX")
    dialog = desk.page.get_by_role("dialog", name="You still have this conversation")
    await dialog.get_by_role("button", name="Hand back and close").click()
    await expect(desk.page.locator("chatbox-pane")).to_have_count(0)
    await expect(ann.page.get_by_text("Bea has left").first).to_be_visible()


async def test_who_sits_down_again_finds_the_conversations_that_are_still_theirs(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    desk = await house.staff("Bea")
    await desk.show("Ann")
    await desk.take()
    await desk.page.close()
    desk = await house.staff("Bea")
    tab = desk.page.locator("chatbox-tabs li")
    await expect(tab).to_have_text(re.compile("Ann"))
    await tab.locator(".tab").click()
    await expect(desk.owner).to_have_text("You have this conversation")


async def test_filters_sorts_and_pages_are_kept_in_the_address(house: House) -> None:
    desk = await house.staff("Bea")
    for name in ("Ann", "Ben"):
        chat = await house.user(name)
        await chat.ask("hello")
    await ask_for_help(chat)
    await expect(desk.waiting).to_have_count(1)
    await expect(desk.listed).to_have_count(2)
    await desk.page.get_by_role("button", name="Filters").click()
    await desk.page.get_by_label("Help asked for").select_option("yes")
    await expect(desk.listed).to_have_count(1)
    await expect(desk.listed.first).to_contain_text("Ben")
    await desk.page.get_by_label("Sort by").select_option("Messages")
    assert "help_requested=true" in desk.page.url
    assert "sort_by=message_count" in desk.page.url
    await desk.page.reload()
    await expect(desk.listed).to_have_count(1)
    await expect(desk.page.get_by_label("Sort by")).to_have_value("message_count")
    await desk.page.get_by_role("button", name="Filters (1)").click()
    await desk.page.get_by_label("User ID", exact=True).fill("nobody")
    await desk.page.keyboard.press("Enter")
    await expect(desk.page.get_by_text("No conversation fits the filters.")).to_be_visible()
    await desk.page.get_by_role("button", name="Clear filters").click()
    await expect(desk.listed).to_have_count(2)


async def test_the_context_of_a_user_and_their_other_conversations_are_shown(house: House) -> None:
    ann = await house.user("Ann", plan="gold <b>")
    await ann.ask("about apples")
    await ann.page.get_by_role("button", name="New chat").click()
    await expect(ann.said).to_have_count(0)
    await ann.ask("about pears")
    desk = await house.staff("Bea")
    await desk.row("about pears").click()
    await desk.pane.get_by_role("button", name="About the user").click()
    details = desk.page.locator("chatbox-customer")
    await expect(details).to_contain_text("user-ann")
    await expect(details.get_by_role("definition").filter(has_text="gold <b>")).to_be_visible()
    await details.get_by_role("button", name="about apples").click()
    await expect(desk.pane.locator(".sub")).to_have_text("about apples")
    await expect(desk.page.locator("chatbox-tabs li")).to_have_count(2)


async def test_a_prepared_reply_is_written_shared_and_used(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    bea, cem = await house.staff("Bea"), await house.staff("Cem")
    await bea.page.get_by_role("button", name="Replies").click()
    await expect(bea.page.get_by_text("There are no prepared replies yet.")).to_be_visible()
    await bea.page.get_by_role("button", name="New reply").click()
    await bea.page.get_by_label("Title").fill("Greeting")
    await bea.page.get_by_label("Text").fill("Hello {name}, how can I help?")
    await bea.page.get_by_role("button", name="Save").click()
    await expect(bea.page.get_by_role("heading", name="Greeting")).to_be_visible()
    await cem.show("Ann")
    await cem.take()
    await cem.page.keyboard.press("Alt+KeyR")
    await cem.page.get_by_role("combobox", name="Search the prepared replies").fill("greet")
    await cem.page.keyboard.press("Enter")
    await expect(cem.reply).to_have_value("Hello Ann, how can I help?")
    await expect(cem.reply).to_be_focused()
    await bea.page.get_by_role("button", name="Remove “Greeting”").click()
    await bea.page.get_by_role("button", name="Cancel").click()
    await expect(bea.page.get_by_role("heading", name="Greeting", exact=True)).to_be_visible()
    await bea.page.get_by_role("button", name="Remove “Greeting”").click()
    await bea.page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(bea.page.get_by_role("heading", name="Greeting")).to_have_count(0)


async def test_what_staff_are_writing_survives_a_reload_and_is_forgotten_when_it_is_sent(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    desk = await house.staff("Bea")
    await desk.show("Ann")
    await desk.take()
    await desk.reply.fill("Dear Ann,\nthe invoice\nis mended.")
    height = await desk.reply.evaluate("element => getComputedStyle(element).height")
    await desk.page.reload()
    await expect(desk.reply).to_have_value("Dear Ann,\nthe invoice\nis mended.")
    await expect(desk.reply).to_have_css("height", height)
    await desk.reply.press("Enter")
    await expect(ann.page.get_by_role("article", name="Bea")).to_contain_text("the invoice")
    await desk.page.reload()
    await expect(desk.reply).to_be_visible()
    await expect(desk.reply).to_have_value("")


async def test_the_model_suggests_a_reply_which_staff_edit_and_send_themselves(house: House) -> None:
    ann = await house.user("Ann")
    for text in ("my invoice is wrong", "it says 99"):
        await ann.ask(text)
    desk = await house.staff("Bea")
    await desk.show("Ann")
    await desk.take()
    summary = desk.page.get_by_role("region", name="Summary by the AI: it may be wrong")
    await expect(summary).to_contain_text("99")
    await summary.get_by_role("button", name="Discard").click()
    await expect(summary).to_have_count(0)
    said = await ann.page.locator("chatbox-chat").inner_text()
    await desk.pane.get_by_role("button", name="Suggest a reply").click()
    await desk.pane.get_by_role("button", name="Put into the reply").click()
    await expect(desk.reply).to_have_value(re.compile("99"))
    await expect(desk.reply).to_be_focused()
    assert await ann.page.locator("chatbox-chat").inner_text() == said
    await desk.say("edited by Bea")
    await expect(ann.page.get_by_role("article", name="Bea")).to_contain_text("edited by Bea")


async def test_the_figures_are_those_of_the_api_with_charts_over_time(house: House) -> None:
    for name in ("Ann", "Ben"):
        chat = await house.user(name)
        await chat.ask("hello there")
    desk = await house.staff("Bea")
    await desk.page.get_by_role("button", name="Figures").click()
    await expect(desk.page.locator("chatbox-chart canvas")).to_have_count(6)
    token = house.server.token("staff-bea", roles=["chat_admin"])
    figures = await house.server.get("admin/metrics", token)
    assert figures["total_sessions"] == 2
    for label, field in (
        ("Conversations", "total_sessions"),
        ("Active now", "active_sessions"),
        ("Messages", "messages"),
        ("Tokens", "total_tokens"),
        ("At once, at most", "max_concurrent"),
    ):
        tile = desk.page.locator("chatbox-metrics dl div").filter(has=desk.page.get_by_text(label, exact=True))
        await expect(tile.locator("dd")).to_have_text(str(figures[field]))
    chart = desk.page.locator("chatbox-chart").filter(has_text="Conversations begun")
    await chart.get_by_text("As a table").click()
    numbers = await chart.locator(".plain tbody td").all_inner_texts()
    assert sum(int(number) for number in numbers) == 2
    await desk.page.get_by_role("button", name="Hour", exact=True).click()
    await expect(desk.page).to_have_url(re.compile("span=hour"))
    await chat.ask("one more")
    tile = desk.page.locator("chatbox-metrics dl div").filter(has=desk.page.get_by_text("Messages", exact=True))
    await desk.page.reload()
    await expect(tile.locator("dd")).to_have_text("6")


async def test_takeovers_and_the_audit_log_say_who_did_what(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    desk = await house.staff("Bea", role="admin")
    await desk.show("Ann")
    await desk.take()
    await desk.say("hello Ann")
    await expect(ann.page.get_by_text("hello Ann").first).to_be_visible()
    await desk.page.get_by_role("button", name="Takeovers").click()
    await expect(desk.page.get_by_role("row").nth(1)).to_contain_text("goes on")
    await expect(desk.page.get_by_role("row").nth(1)).to_contain_text("Bea")
    await desk.page.get_by_role("button", name="Audit").click()
    await expect(desk.page.get_by_role("row").filter(has_text="Took a conversation over")).to_contain_text("Bea")
    async with desk.page.expect_download() as download:
        await desk.page.get_by_role("button", name="Export").click()
    assert (await download.value).suggested_filename == "audit.jsonl"
    await desk.page.get_by_role("button", name="Alerts").click()
    await expect(desk.page.get_by_text("Every alert was delivered.")).to_be_visible()


async def test_a_user_is_blocked_with_a_reason(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    desk = await house.staff("Bea")
    await desk.show("Ann")
    await desk.page.keyboard.press("Alt+KeyU")
    await desk.page.get_by_role("button", name="Block this user").click()
    dialog = desk.page.get_by_role("dialog", name="Block Ann?")
    await dialog.get_by_label("Reason, for colleagues").fill("spam")
    await dialog.get_by_role("button", name="Block this user").click()
    await expect(desk.page.get_by_text("Ann is blocked.")).to_be_visible()
    await expect(ann.link).to_contain_text("may not connect")
    token = house.server.token("staff-bea", roles=["chat_admin"])
    blocks = (await house.server.get("admin/blocks", token))["blocks"]
    assert [(block["user_id"], block["reason"]) for block in blocks] == [("user-ann", "spam")]


async def test_a_lost_line_is_told_and_nothing_is_missing_afterwards(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    async with Proxy(house.server.port) as network:
        desk = await house.staff("Bea", base=network.base(house.server.base))
        await desk.show("Ann")
        await desk.take()
        network.refusing = True
        network.cut()
        await expect(desk.link).to_contain_text("The connection was lost.")
        await expect(desk.hand_back).to_be_disabled()
        await ann.say("still there?")
        await desk.say("yes, in a tunnel")
        network.refusing = False
        await expect(ann.page.get_by_role("article", name="Bea")).to_contain_text("in a tunnel")
        said = desk.messages.get_by_role("article", name="Ann")
        await expect(said).to_have_text([re.compile("hello"), re.compile("still there")])
        await expect(desk.owner).to_have_text("You have this conversation")


async def test_without_the_role_there_is_a_plain_refusal(server: Server, chromium: Browser) -> None:
    context = await staff_context(chromium)
    page = await context.new_page()
    await page.goto(f"{server.base}staff#token={server.token('just-a-user')}")
    await expect(page.get_by_role("heading", name="This page is for staff")).to_be_visible()
    await expect(page.locator("chatbox-rail")).to_have_count(0)
    await page.get_by_role("link", name="To the chat").click()
    await expect(page.locator("chatbox-composer")).to_be_visible()
    await context.close()


async def test_a_link_in_an_alert_opens_its_conversation(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("hello")
    desk = await house.staff("Bea", to=f"/c/{ann.session_id}")
    await expect(desk.messages.get_by_role("article", name="Ann")).to_contain_text("hello")
    await expect(desk.page).to_have_url(re.compile(r"/staff\?open="))


async def test_on_a_phone_one_thing_is_shown_at_a_time(house: House) -> None:
    ann = await house.user("Ann")
    await ann.ask("a" * 300)
    desk = await house.staff("Bea", size=PHONE)
    await desk.row("Ann").click()
    await expect(desk.page.locator("chatbox-inbox")).to_have_count(0)
    await desk.take()
    await desk.say("hello from my phone")
    await expect(ann.page.get_by_role("article", name="Bea")).to_contain_text("from my phone")
    assert await desk.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    await desk.page.get_by_role("button", name="Back to the list").click()
    await expect(desk.row("Ann").get_by_role("button")).to_be_focused()
    await desk.page.go_back()
    for part in ("Figures", "Takeovers", "Audit", "Alerts", "Replies", "Chats"):
        await desk.page.locator("chatbox-rail").get_by_role("button", name=part).click()
        assert await desk.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


async def test_the_keys_work_and_are_explained(house: House) -> None:
    desk = await house.staff("Bea")
    for name in ("Ann", "Ben"):
        chat = await house.user(name)
        await chat.ask("hello")
        await desk.show(name)
    keys = desk.page.keyboard
    await keys.press("Alt+KeyJ")
    await expect(desk.pane.get_by_role("heading", name="Ann")).to_be_visible()
    await keys.press("Alt+KeyT")
    await expect(desk.owner).to_have_text("You have this conversation")
    await keys.press("Alt+KeyI")
    await expect(desk.reply).to_be_focused()
    await keys.press("Alt+KeyN")
    await expect(desk.pane.get_by_role("textbox", name="Internal note")).to_be_focused()
    await keys.press("Alt+KeyS")
    await expect(desk.page.get_by_label("User ID", exact=True)).to_be_focused()
    await keys.press("Alt+Digit2")
    await expect(desk.page.get_by_role("heading", name="Figures")).to_be_visible()
    await keys.press("Alt+KeyH")
    await expect(desk.page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await keys.press("Escape")
    await expect(desk.page.get_by_role("dialog")).to_have_count(0)


async def test_the_desk_speaks_german(house: House) -> None:
    desk = await house.staff("Bea", to="?lang=de")
    await expect(desk.page.get_by_text("Niemand wartet.")).to_be_visible()
    await desk.page.get_by_role("button", name="Konto: Bea").click()
    await expect(desk.page.get_by_text("Rolle: Support")).to_be_visible()


async def test_over_the_limit_the_page_waits_and_goes_on_by_itself(
    tmp_path_factory: pytest.TempPathFactory, chromium: Browser
) -> None:
    settings = {**ECHO, "ADMIN_RATE_LIMIT": "2", "ADMIN_RATE_WINDOW": "4s"}
    async with serving(tmp_path_factory.mktemp("limited"), settings) as server:
        context = await staff_context(chromium)
        desk = await sit_down(context, server, "staff-bea", "Bea")
        for part in ("Takeovers", "Audit", "Takeovers"):
            await desk.page.locator("chatbox-rail").get_by_role("button", name=part).click()
            await expect(desk.page.get_by_role("heading", name=re.compile("Takeovers|Audit log"))).to_be_visible()
        token = server.token("staff-bea", roles=["chat_admin"])

        async def full() -> bool:
            return "rate_limit_exceeded" in json.dumps(await server.get("admin/canned", token))

        await until(full)
        await desk.page.locator("chatbox-rail").get_by_role("button", name="Replies").click()
        await expect(desk.page.get_by_text("Too many requests.")).to_be_visible()
        await expect(desk.page.get_by_text("There are no prepared replies yet.")).to_be_visible()
        await context.close()
