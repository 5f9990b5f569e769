"""The support desk in its sizes and colours, for people who see it differently, and when something is wrong."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import Browser, Page, Route, expect

from .conftest import PATIENCE, Person, Server
from .proxy import Proxy
from .staff import DESKTOP, PHONE, DeskPage, sit_down, staff_context
from .test_look import violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PARTS = {
    "Figures": "Figures",
    "Takeovers": "Takeovers",
    "Audit": "Audit log",
    "Alerts": "Undelivered alerts",
    "Replies": "Prepared replies",
}
DEAD = {
    "id": "help:s1:1",
    "event": "help",
    "state": "dead",
    "time": "2026-11-21T10:00:00.000Z",
    "session_id": "s1",
    "user_id": "ann",
    "attempts": 20,
    "error": "the mail server refuses the sender",
    "refused": {"email": {"desk@example.com": "refused"}},
}


async def talk(server: Server, chromium: Browser, user: str) -> str:
    """A user with a conversation who asks for help; gives their name."""
    context = await chromium.new_context(locale="en-GB")
    context.set_default_timeout(PATIENCE)
    chat = await Person(server, context, user).open()
    await chat.ask("/markdown")
    await chat.page.get_by_role("button", name="Get help from a person").click()
    await expect(chat.page.get_by_text("You asked for help").first).to_be_visible()
    await context.close()
    return user


async def to_part(desk: DeskPage, name: str) -> None:
    await desk.page.locator("chatbox-rail").get_by_role("button", name=name).click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_axe_finds_nothing_at_the_desk(
    server: Server, chromium: Browser, scheme: str, size: dict[str, int]
) -> None:
    user = await talk(server, chromium, f"desk-{scheme}-{size['width']}")
    context = await staff_context(chromium, size=size, scheme=scheme)
    desk = await sit_down(context, server, f"axe-{scheme}-{size['width']}", "Bea", role="admin")
    await expect(desk.row(user)).to_be_visible()
    await desk.page.get_by_role("button", name="Filters").click()
    assert await violations(desk.page) == []
    await desk.show(user)
    assert await violations(desk.page) == []
    await desk.take()
    await desk.say("hello")
    await desk.note("a note")
    assert await violations(desk.page) == []
    await desk.pane.get_by_role("button", name="Reply", exact=True).click()
    await desk.pane.get_by_role("button", name="Suggest a reply").click()
    await expect(desk.pane.get_by_role("button", name="Put into the reply")).to_be_visible()
    assert await violations(desk.page) == []
    await desk.page.keyboard.press("Alt+KeyR")
    await expect(desk.page.get_by_role("combobox", name="Search the prepared replies")).to_be_focused()
    assert await violations(desk.page) == []
    await desk.page.keyboard.press("Escape")
    await desk.page.keyboard.press("Alt+KeyU")
    await expect(desk.page.get_by_text("Other conversations")).to_be_visible()
    assert await violations(desk.page) == []
    await desk.page.get_by_role("button", name="Block this user").click()
    assert await violations(desk.page) == []
    await desk.page.keyboard.press("Escape")
    await desk.page.keyboard.press("Alt+KeyH")
    assert await violations(desk.page) == []
    await desk.page.keyboard.press("Escape")
    await desk.page.keyboard.press("Alt+KeyL")
    await desk.page.get_by_role("button", name="Account").click()
    assert await violations(desk.page) == []
    await desk.page.keyboard.press("Escape")
    await parts_are_clean(desk)
    await context.close()


async def parts_are_clean(desk: DeskPage) -> None:
    await desk.page.route("**/admin/alerts*", lambda route: route.fulfill(json={"alerts": [DEAD], "next_cursor": None}))
    for part, heading in PARTS.items():
        await to_part(desk, part)
        await expect(desk.page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
        await expect(desk.page.get_by_text("Reading …")).to_have_count(0)
        assert await violations(desk.page) == [], part
    await desk.page.get_by_role("button", name="New reply").click()
    assert await violations(desk.page) == []


async def test_an_alert_that_nobody_got_is_shown_and_tried_again(server: Server, chromium: Browser) -> None:
    context = await staff_context(chromium)
    tried: list[str] = []

    async def answer(route: Route) -> None:
        if route.request.method == "POST":
            tried.append(route.request.url.partition("/alerts/")[2])
            await route.fulfill(status=204)
        else:
            await route.fulfill(json={"alerts": [] if tried else [DEAD], "next_cursor": None})

    await context.route(re.compile("/admin/alerts"), answer)
    desk = await sit_down(context, server, "alerted", "Bea")
    await to_part(desk, "Alerts")
    row = desk.page.get_by_role("row").nth(1)
    await expect(row).to_contain_text("A user asks for help")
    await expect(row).to_contain_text("the mail server refuses the sender")
    await expect(row).to_contain_text("email: 1 not reached")
    await row.get_by_role("button", name="Try again").click()
    await expect(desk.page.get_by_text("The alert is on its way again.")).to_be_visible()
    await expect(desk.page.get_by_text("Every alert was delivered.")).to_be_visible()
    assert tried == ["help%3As1%3A1/retry"]
    await context.close()


@pytest.mark.parametrize("part", [part for part in PARTS if part != "Figures"])
async def test_what_can_not_be_read_says_so_and_can_be_read_again(server: Server, chromium: Browser, part: str) -> None:
    context = await staff_context(chromium)
    desk = await sit_down(context, server, "unlucky", "Bea")
    broken = re.compile(r"/admin/(takeovers|audit|alerts|canned)")
    await desk.page.route(
        broken, lambda route: route.fulfill(status=503, body=json.dumps({"error": "x", "code": "DATABASE_ERROR"}))
    )
    await to_part(desk, part)
    await expect(desk.page.get_by_text("This could not be read.")).to_be_visible()
    assert await violations(desk.page) == []
    await desk.page.unroute(broken)
    await desk.page.get_by_role("button", name="Try again", exact=True).click()
    await expect(desk.page.get_by_text("This could not be read.")).to_have_count(0)
    await context.close()


async def test_axe_finds_nothing_while_the_desk_is_cut_off(server: Server, chromium: Browser) -> None:
    user = await talk(server, chromium, "cut-off")
    context = await staff_context(chromium)
    async with Proxy(server.port) as network:
        desk = await sit_down(context, server, "cut", "Bea", base=network.base(server.base))
        await desk.show(user)
        network.refusing = True
        network.cut()
        await expect(desk.link).to_contain_text("The connection was lost.")
        assert await violations(desk.page) == []
        await context.set_offline(True)
        await expect(desk.link).to_contain_text("You are offline.")
        assert await violations(desk.page) == []
    await context.close()


async def test_axe_finds_nothing_on_the_refusal(server: Server, chromium: Browser) -> None:
    context = await staff_context(chromium)
    page = await context.new_page()
    await page.goto(f"{server.base}staff#token={server.token('nobody')}")
    await expect(page.get_by_role("heading", name="This page is for staff")).to_be_visible()
    assert await violations(page) == []
    await context.close()


async def test_who_loses_the_role_while_at_the_desk_is_refused(server: Server, chromium: Browser) -> None:
    context = await staff_context(chromium)
    desk = await sit_down(context, server, "demoted", "Bea")
    admin = server.token("boss", roles=["admin"])
    status = await post(desk.page, f"{server.base}admin/blocks", admin, {"user_id": "demoted"})
    assert status == 200
    await expect(desk.page.get_by_role("heading", name="This page is for staff")).to_be_visible()
    await context.close()


async def post(page: Page, address: str, token: str, body: dict[str, str]) -> int:
    answer = await page.request.post(address, data=body, headers={"Authorization": f"Bearer {token}"})
    return answer.status


async def test_users_do_not_load_what_only_staff_see(server: Server, chromium: Browser) -> None:
    context = await chromium.new_context()
    loaded: list[str] = []
    context.on("request", lambda request: loaded.append(request.url))
    await Person(server, context, "light-user").open()
    assert not [address for address in loaded if "dashboard" in address]
    await context.close()


async def test_dialogs_and_panels_give_the_focus_back(server: Server, chromium: Browser) -> None:
    user = await talk(server, chromium, "focus-user")
    context = await staff_context(chromium)
    desk = await sit_down(context, server, "focused", "Bea")
    await desk.row(user).click()
    # Not on a button: a key that is held down would take the conversation over.
    await expect(desk.messages.get_by_role("region", name="Messages")).to_be_focused()
    await desk.pane.get_by_role("button", name="About the user").click()
    await expect(desk.page.get_by_role("button", name="Close what is known about the user")).to_be_focused()
    await desk.page.keyboard.press("Escape")
    await expect(desk.pane.get_by_role("button", name="About the user")).to_be_focused()
    await context.close()
