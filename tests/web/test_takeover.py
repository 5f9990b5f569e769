"""A person comes into the conversation: asked for, there, gone again, as the user sees it in every tab."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from chatbox.commits import Commits
from chatbox.helpdesk import Helpdesk
from chatbox.hours import DAYS, Hours
from chatbox.session import new_id, now_ms
from tests.live import Live, running
from tests.live import token as minted

from .conftest import PATIENCE, ChatPage, Person, until
from .test_look import DESKTOP, PHONE, violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SLOW = "/slow 60 " + " ".join(f"word{n}" for n in range(40))
ADDRESS = "ann@example.com"


class Colleague:
    """A member of staff on a socket of their own, in one session at a time."""

    def __init__(self, line: aiohttp.ClientWebSocketResponse) -> None:
        self._line = line
        self.session_id = ""

    async def act(self, kind: str, **fields: str) -> None:
        """Do something, and wait until it is acknowledged."""
        message_id = new_id()
        await self._line.send_json({"type": kind, "session_id": self.session_id, "message_id": message_id, **fields})
        while True:
            frame = await self._line.receive_json(timeout=20)
            assert frame["type"] != "error", frame
            if (frame["type"], frame.get("message_id")) == ("ack", message_id):
                return

    async def say(self, text: str) -> None:
        await self.act("user_message", content=text)

    async def hear(self, kind: str) -> dict[str, str]:
        """The next frame of a kind about the session."""
        while True:
            frame = await self._line.receive_json(timeout=20)
            if (frame["type"], frame.get("session_id")) == (kind, self.session_id):
                return frame

    async def type(self) -> None:
        await self._line.send_json({"type": "typing_indicator", "session_id": self.session_id})


class House:
    """A running server, its users and its staff."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.base = f"{live.http}/"
        self._open_lines = AsyncExitStack()
        self._colleagues: dict[str, Colleague] = {}

    def token(self, user: str) -> str:
        return minted(user)

    async def staff(self, name: str, chat: ChatPage) -> Colleague:
        """A member of staff who turns to this conversation."""
        if name not in self._colleagues:
            token = minted(name.lower(), roles=["chat_admin"])
            headers = {"Authorization": f"Bearer {token}"}
            opening = self.live.session.ws_connect(f"{self.live.http}/admin/ws", headers=headers)
            self._colleagues[name] = Colleague(await self._open_lines.enter_async_context(opening))
        colleague = self._colleagues[name]
        colleague.session_id = chat.session_id
        return colleague

    async def away(self, chat: ChatPage) -> None:
        """Whoever has the conversation has been gone for too long."""
        app = self.live.app
        await app.takeovers.end(await app.storage.get(chat.session_id), new_id(), reason="away")

    async def close(self) -> None:
        """All staff go home."""
        await self._open_lines.aclose()
        self._colleagues.clear()
        await until(self._is_empty)

    async def _is_empty(self) -> bool:
        return not await self.live.app.office.presence.online()

    async def person(self, chromium: Browser, **options: object) -> Person:
        context = await chromium.new_context(**{"locale": "en-GB", "viewport": DESKTOP, **options})
        context.set_default_timeout(PATIENCE)
        return Person(self, context, f"user-{secrets.token_hex(6)}")  # type: ignore[arg-type]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    models = {
        "LLM_PROVIDER_1_TYPE": "echo",
        "LLM_PROVIDER_1_NAME": "First model",
        "LLM_PROVIDER_2_TYPE": "echo",
        "LLM_PROVIDER_2_ID": "second",
        "LLM_PROVIDER_2_NAME": "Second model",
    }
    folder, settings = tmp_path_factory.mktemp("house"), {**models, "RATE_LIMIT": "10000"}
    async with running(folder, settings) as live:
        yield House(live)


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def nobody_stays(house: House) -> AsyncIterator[None]:
    yield
    await house.close()


@pytest_asyncio.fixture(loop_scope="session")
async def person(house: House, chromium: Browser) -> AsyncIterator[Person]:
    someone = await house.person(chromium)
    yield someone
    await someone.context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def chat(person: Person) -> ChatPage:
    return await person.open()


def said_by(page: Page, name: str) -> Locator:
    return page.get_by_role("article", name=name)


def line(page: Page, text: str) -> Locator:
    """A line about the conversation."""
    return page.locator("chatbox-messages .event", has_text=text)


def strip(page: Page) -> Locator:
    """How a call for help stands."""
    return page.locator("chatbox-help-line")


def help_button(page: Page) -> Locator:
    return page.get_by_role("button", name="Get help from a person")


async def bea_has(house: House, chat: ChatPage) -> Colleague:
    await chat.ask("hello")
    bea = await house.staff("Bea", chat)
    await bea.act("admin_join")
    await expect(chat.page.locator("chatbox-header .staff")).to_be_visible()
    return bea


async def ask_for_help(chat: ChatPage) -> None:
    """Ask for a person, and wait until that is stored."""
    await help_button(chat.page).click()
    await expect(line(chat.page, "You asked for help from a person.")).to_be_visible()
    await expect(strip(chat.page)).to_contain_text("Nobody has been told yet.")


async def told(house: House, chat: ChatPage, opening: Hours | None = None) -> None:
    """An alert about the call has reached somebody."""
    app = house.live.app
    desk = Helpdesk(app.storage, Commits(app.storage, app.backplane, app.hub), opening or Hours())
    session = await app.storage.get(chat.session_id)
    if opening:
        await desk.closed(session, session.help_since)
    else:
        await desk.told(session.id, session.help_since, now_ms())


async def test_the_name_of_who_has_the_conversation_is_where_the_models_were(house: House, chat: ChatPage) -> None:
    model = chat.page.get_by_label("Model", exact=True)
    await expect(model).to_be_visible()
    bea = await bea_has(house, chat)
    await expect(chat.page.locator("chatbox-header")).to_contain_text("Bea from support answers you")
    await expect(model).to_have_count(0)
    await expect(help_button(chat.page)).to_have_count(0)
    await expect(chat.field).to_have_attribute("placeholder", "Write to Bea")
    await bea.act("admin_leave")
    await expect(chat.page.locator("chatbox-header")).not_to_contain_text("Bea")
    await expect(model).to_be_visible()
    await expect(chat.field).to_have_attribute("placeholder", "Write a message")


async def test_a_takeover_stops_the_answer_and_nothing_of_it_can_be_asked_for_again(
    house: House, chat: ChatPage
) -> None:
    await chat.say(SLOW)
    await expect(chat.answers.last).to_contain_text("word3")
    bea = await house.staff("Bea", chat)
    await bea.act("admin_join")
    await expect(line(chat.page, "Bea has joined. The assistant is silent meanwhile.")).to_be_visible()
    await expect(chat.answers.last).to_contain_text("Stopped")
    await expect(chat.stop).to_have_count(0)
    again = chat.page.get_by_role("button", name="Answer again")
    await expect(again).to_have_count(0)
    await chat.say("Is somebody there?")
    await bea.say("Yes, I am.")
    await expect(said_by(chat.page, "Bea")).to_contain_text("Yes, I am.")
    await expect(chat.answers).to_have_count(1)
    assert "word39" not in await chat.answers.last.inner_text()
    await bea.act("admin_leave")
    await expect(again).to_have_count(1)


async def test_what_staff_say_is_seen_at_once_in_every_tab_and_after_a_reload(
    house: House, person: Person, chat: ChatPage
) -> None:
    bea = await bea_has(house, chat)
    other = await person.open(path=f"c/{chat.session_id}")
    await bea.say("Hello, I am <b>Bea</b>.\nHow can I help?")
    await bea.act("note", content="a difficult one")
    await chat.say("My parcel is late.")
    for page in (chat.page, other.page):
        await expect(said_by(page, "Bea")).to_contain_text("Hello, I am <b>Bea</b>.")
        await expect(said_by(page, "Bea").locator("chatbox-avatar")).to_have_text("B")
        await expect(said_by(page, "You").last).to_contain_text("My parcel is late.")
    await expect(chat.field).to_be_focused()
    await expect(chat.said.last.locator("time")).to_be_visible()
    before = await seen(chat)
    assert await seen(other) == before
    await chat.page.reload()
    await expect(said_by(chat.page, "Bea")).to_be_visible()
    assert await seen(chat) == before
    assert not any("difficult" in text for text in before)


async def seen(chat: ChatPage) -> list[str]:
    """What the page shows of who is there, and all lines of the conversation."""
    parts = chat.page.locator("chatbox-header, chatbox-help-line, chatbox-messages .event, article")
    return [re.sub(r"\s+", " ", text) for text in await parts.all_inner_texts()]


async def test_everybody_is_seen_typing(house: House, chat: ChatPage) -> None:
    bea = await bea_has(house, chat)
    await chat.field.press_sequentially("My par")
    assert (await bea.hear("typing_indicator"))["sender"] == "user"
    await bea.type()
    sign = chat.page.get_by_text("Bea is typing …")
    await expect(sign).to_be_visible()
    await bea.say("Done.")
    await expect(sign).to_have_count(0)
    await bea.type()
    await expect(sign).to_be_visible()
    await bea.act("admin_leave")
    await expect(sign).to_have_count(0)


async def test_who_hands_on_and_who_has_left_is_told(house: House, person: Person, chat: ChatPage) -> None:
    bea = await bea_has(house, chat)
    await house.staff("Cy", chat)
    await bea.act("transfer", user_id="cy")
    await expect(line(chat.page, "Bea has handed the conversation on to Cy.")).to_be_visible()
    await expect(chat.page.locator("chatbox-header")).to_contain_text("Cy from support answers you")
    await house.away(chat)
    await expect(line(chat.page, "Cy has been away for too long.")).to_be_visible()
    await expect(strip(chat.page)).to_have_text("The assistant answers again.")
    other = await person.open(path=f"c/{chat.session_id}")
    await expect(strip(other.page)).to_have_text("The assistant answers again.")
    await chat.ask("Are you back?")
    for page in (chat.page, other.page):
        await expect(strip(page)).to_have_text("")


async def test_how_a_call_for_help_stands_is_told_truthfully(house: House, person: Person, chat: ChatPage) -> None:
    await chat.ask("hello")
    other = await person.open(path=f"c/{chat.session_id}")
    await ask_for_help(chat)
    for page in (chat.page, other.page):
        await expect(strip(page)).to_contain_text("Nobody has been told yet.")
        await expect(help_button(page)).to_have_count(0)
    await told(house, chat)
    for page in (chat.page, other.page):
        await expect(strip(page)).to_contain_text(re.compile(r"Support was told at \d\d:\d\d\. Someone will come"))
        await expect(line(page, "Support was told at")).to_be_visible()
    await chat.page.reload()
    await expect(strip(chat.page)).to_contain_text(re.compile(r"Support was told at \d\d:\d\d\."))
    await (await house.staff("Bea", chat)).act("admin_join")
    for page in (chat.page, other.page):
        await expect(strip(page)).to_have_text("")
        await expect(page.locator("chatbox-header")).to_contain_text("Bea from support answers you")


async def test_a_call_is_taken_back_and_the_keyboard_is_not_lost(chat: ChatPage) -> None:
    await chat.ask("hello")
    await help_button(chat.page).focus()
    await chat.page.keyboard.press("Enter")
    withdraw = chat.page.get_by_role("button", name="Withdraw the call for help")
    await expect(withdraw).to_be_focused()
    await chat.page.keyboard.press("Enter")
    await expect(help_button(chat.page)).to_be_focused()
    await expect(line(chat.page, "The call for help has ended.")).to_be_visible()
    await expect(strip(chat.page)).to_have_text("")


async def test_who_asks_in_a_hurry_asks_once(house: House, chat: ChatPage) -> None:
    await chat.ask("hello")
    await help_button(chat.page).evaluate("button => { for (let n = 0; n < 5; n++) button.click(); }")
    await expect(line(chat.page, "You asked for help from a person.")).to_have_count(1)
    await chat.page.reload()
    await expect(strip(chat.page)).to_contain_text("Nobody has been told yet.")
    await expect(line(chat.page, "You asked for help from a person.")).to_have_count(1)


def closed_now() -> Hours:
    """Opening hours that begin the day after tomorrow."""
    day = DAYS[(datetime.now(UTC) + timedelta(days=2)).weekday()]
    return Hours(f"{day} 09:00-17:00")


async def test_outside_the_opening_hours_an_address_can_be_left(house: House, person: Person, chat: ChatPage) -> None:
    await chat.ask("hello")
    await ask_for_help(chat)
    await told(house, chat, closed_now())
    await expect(strip(chat.page)).to_contain_text(re.compile(r"Support is closed now and opens on \w+ at \d\d:00\."))
    field = chat.page.get_by_label("Your e-mail address, to be answered there")
    await field.fill("ann at example")
    await field.press("Enter")
    await expect(strip(chat.page)).to_contain_text("This is not an e-mail address.")
    await field.fill(ADDRESS)
    await chat.page.get_by_role("button", name="Leave address").click()
    other = await person.open(path=f"c/{chat.session_id}")
    for page in (chat.page, other.page):
        await expect(strip(page)).to_contain_text(f"Support can answer you at {ADDRESS}.")
        await expect(line(page, f"You asked for an answer to {ADDRESS}.")).to_be_visible()
    session = await house.live.app.storage.get(chat.session_id)
    assert (session.context, str(session.help_state)) == ({"help_email": ADDRESS}, "asked")
    await chat.page.get_by_role("button", name="Change the address").click()
    await expect(field).to_have_value(ADDRESS)


async def test_staff_who_come_while_an_address_is_written_are_written_to(house: House, chat: ChatPage) -> None:
    await chat.ask("hello")
    await ask_for_help(chat)
    await told(house, chat, closed_now())
    await chat.page.get_by_label("Your e-mail address, to be answered there").focus()
    await (await house.staff("Bea", chat)).act("admin_join")
    await expect(chat.field).to_be_focused()


async def test_a_long_name_leaves_room_on_a_phone(house: House, chromium: Browser) -> None:
    person = await house.person(chromium, viewport=PHONE, has_touch=True, is_mobile=True)
    chat = await person.open()
    await chat.ask("hello")
    name = "Wolfeschlegelsteinhausenbergerdorff" * 3
    somebody = await house.staff(name, chat)
    await somebody.act("admin_join")
    await somebody.say("Good morning.")
    await somebody.type()
    await expect(chat.page.get_by_text(f"{name} is typing …")).to_be_visible()
    await expect(chat.page.get_by_role("button", name="Conversation menu")).to_be_in_viewport(ratio=1)
    scroller = chat.page.locator("chatbox-messages .scroller")
    assert await chat.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert await scroller.evaluate("element => element.scrollWidth <= element.clientWidth")
    await person.context.close()


async def test_a_screen_reader_hears_who_comes_and_what_they_say(house: House, chat: ChatPage) -> None:
    status = chat.page.locator("chatbox-messages [role=status]")
    bea = await bea_has(house, chat)
    await expect(status).to_have_text("Bea has joined. The assistant is silent meanwhile.")
    await bea.say("Good morning.")
    await expect(status).to_have_text("Bea: Good morning.")
    await bea.act("admin_leave")
    await expect(status).to_have_text("Bea has left.")
    await expect(strip(chat.page).get_by_role("status")).to_have_text("The assistant answers again.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_axe_finds_nothing_while_a_person_is_asked_for_there_and_gone(
    house: House, chromium: Browser, scheme: str, size: dict[str, int]
) -> None:
    person = await house.person(chromium, viewport=size, color_scheme=scheme, reduced_motion="reduce")
    chat = await person.open()
    await chat.ask("My parcel has not come, and the shop does not answer.")
    await ask_for_help(chat)
    assert await violations(chat.page) == []
    await told(house, chat)
    await expect(strip(chat.page)).to_contain_text("Support was told")
    assert await violations(chat.page) == []
    await told(house, chat, closed_now())
    await expect(strip(chat.page).get_by_role("textbox")).to_be_visible()
    assert await violations(chat.page) == []
    await strip(chat.page).get_by_role("textbox").fill(ADDRESS)
    await chat.page.get_by_role("button", name="Leave address").click()
    await expect(strip(chat.page)).to_contain_text(ADDRESS)
    assert await violations(chat.page) == []
    bea = await house.staff("Bea", chat)
    await bea.act("admin_join")
    await bea.say("Good morning, this is Bea. I am sorry about that.\nWhat is the number of your parcel?")
    await chat.say("It is 4711.")
    while (await bea.hear("user_message"))["content"] != "It is 4711.":
        pass
    await bea.say("Thank you, I ask the carrier.")
    await bea.type()
    await expect(chat.page.get_by_text("Bea is typing …")).to_be_visible()
    assert await violations(chat.page) == []
    await bea.act("admin_leave")
    await expect(strip(chat.page)).to_contain_text("The assistant answers again.")
    assert await violations(chat.page) == []
    assert await chat.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    await person.context.close()
