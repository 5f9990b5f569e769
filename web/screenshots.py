"""Take the screenshots of the documentation: every state of the page, in a real browser against a real server.

.venv/bin/python web/screenshots.py docs/screenshots
"""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import aiohttp
from playwright.async_api import Browser, Route, async_playwright, expect

from tests.web.conftest import CHROMIUM, ECHO, FLAGS, ChatPage, Person, Server, serving
from tests.web.proxy import Proxy
from tests.web.staff import DeskPage, sit_down
from tests.web.test_takeover import Colleague

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

ANSWER = """\
Paris has three kinds of days, so here is a plan for each:

1. **Sunny**: walk along the Seine from the *Pont Neuf* to the gardens of the Tuileries.
2. **Grey**: the Musée de l'Orangerie is small, calm and never too full.
3. **Wet**: covered passages, with coffee in between.

| Place | Opens | Costs |
|---|---|---:|
| Orangerie | 09:00 | 12 € |
| Passage des Panoramas | 06:00 | nothing |

To see how long the walk is:

```python
def minutes(metres: float, pace: float = 1.3) -> int:
    # A relaxed pace, with time to look.
    return round(metres / pace / 60)

print(minutes(2_100))
```

> Bring an umbrella in any case.
"""

TOPICS = [
    "Notes for the garden in spring",
    "A letter to the landlord about the heating",
    "Why is the sky blue?",
    "Ideas for Grandma's eightieth birthday",
    "Translate this recipe",
]


class Studio:
    """Takes pictures of one server in one colour and size."""

    def __init__(self, browser: Browser, server: Server, folder: Path, scheme: str, size: dict[str, int]) -> None:
        self.browser, self.server, self.folder, self.scheme, self.size = browser, server, folder, scheme, size
        self.label = f"{'phone' if size is PHONE else 'desktop'}-{scheme}"

    @asynccontextmanager
    async def person(self, user: str = "", **more: object) -> AsyncIterator[Person]:
        phone = {"has_touch": True, "is_mobile": True} if self.size is PHONE else {}
        context = await self.browser.new_context(
            viewport=self.size, color_scheme=self.scheme, locale="en-GB", timezone_id="Europe/Berlin", **phone, **more
        )
        person = Person(self.server, context, user or f"user-{secrets.token_hex(4)}")
        person.token = self.server.token(person.user, name="Ada Example")
        yield person
        await context.close()

    async def shoot(self, chat: ChatPage | DeskPage, name: str) -> None:
        await asyncio.sleep(0.5)
        await chat.page.screenshot(path=self.folder / f"{name}-{self.label}.png", animations="disabled")


async def empty(studio: Studio) -> None:
    async with studio.person() as person:
        await studio.shoot(await person.open(), "empty")


async def full(studio: Studio) -> None:
    async with studio.person() as person:
        chat = await person.open()
        for topic in TOPICS:
            await chat.ask(topic)
            await chat.page.keyboard.press("Alt+KeyN")
            await expect(chat.said).to_have_count(0)
        await chat.ask("What could we do on a weekend in Paris?")
        await retell(chat, ["What could we do on a weekend in Paris?"], ANSWER)
        await studio.shoot(chat, "conversation")
        await chat.page.locator(".scroller").evaluate("element => element.scrollTo({ top: 350, behavior: 'instant' })")
        await studio.shoot(chat, "reading")
        await show_list(studio, chat)
        await chat.rows.nth(1).get_by_role("button", name=re.compile("Actions")).click()
        await studio.shoot(chat, "menu")
        await chat.page.get_by_role("menuitem", name="Share").click()
        await chat.page.get_by_role("button", name="Create link").click()
        await expect(chat.page.get_by_label("Public link")).to_be_visible()
        await studio.shoot(chat, "share")
        await chat.page.keyboard.press("Escape")
        await chat.rows.nth(2).get_by_role("button", name=re.compile("Actions")).click()
        await chat.page.get_by_role("menuitem", name="Delete").click()
        await studio.shoot(chat, "undo")


async def retell(chat: ChatPage, asked: list[str], answered: str | None = None) -> None:
    """Put other words into the page: the echo model's commands are no sight for readers."""

    async def rename(route: Route) -> None:
        answer = await route.fetch()
        listed = await answer.json()
        for session in listed["sessions"]:
            if session["name"].startswith("/"):
                session["name"] = asked[0]
        await route.fulfill(response=answer, json=listed)

    await chat.page.route("**/sessions?*", rename)
    await chat.page.evaluate(
        """([asked, answered]) => {
            const { page } = document.querySelector("chatbox-app");
            const { messages } = page.chat.log;
            const said = (sender) => messages.filter((message) => message.sender === sender);
            const change = (message, content) =>
                Object.assign(message, { content, generation: message.generation + 1, revision: message.revision + 1 });
            for (const [index, text] of asked.entries()) change(said("user").at(index - asked.length), text);
            if (answered) change(said("ai").at(-1), answered);
            page.chat.facts.name = asked[0];
            page.sessions.refresh();
            page.chat.dismiss();
        }""",
        [asked, answered],
    )
    await expect(chat.page).to_have_title(re.compile(re.escape(asked[0])))


async def show_list(studio: Studio, chat: ChatPage) -> None:
    if studio.size is PHONE:
        await chat.page.get_by_role("button", name="Show conversations").click()
        await studio.shoot(chat, "list")


async def streaming(studio: Studio) -> None:
    async with studio.person() as person:
        chat = await person.open()
        await chat.say("/slow 9000 nothing yet")
        await expect(chat.page.get_by_role("img", name="The answer is on its way")).to_be_visible()
        await expect(chat.rows.or_(chat.page.locator("chatbox-header")).first).to_be_visible()
        await retell(chat, ["What is a river?"])
        await studio.shoot(chat, "waiting")
    async with studio.person() as person:
        chat = await person.open()
        await chat.say("/slow 60 " + "A river is never the same twice, and neither is the walk along it. " * 9)
        await expect(chat.answers.last).to_contain_text("the walk along it. A river is never")
        await retell(chat, ["What is a river?"])
        await studio.shoot(chat, "streaming")


async def failing(studio: Studio) -> None:
    async with studio.person() as person:
        chat = await person.open()
        await chat.ask("/fail-after 12")
        await chat.ask("/fail refused")
        await chat.page.get_by_role("button", name="Get help from a person").click()
        await expect(chat.page.get_by_text("You asked for help from a person.")).to_be_visible()
        await retell(chat, ["Count to a hundred", "And now backwards"])
        await studio.shoot(chat, "error")


async def cut(studio: Studio) -> None:
    async with Proxy(studio.server.port) as proxy, studio.person() as person:
        chat = await person.open(base=proxy.base(studio.server.base))
        await chat.ask("Are you still there?")
        await asyncio.sleep(1)
        proxy.refusing = True
        proxy.cut()
        await expect(chat.link).to_contain_text("The connection was lost.")
        await chat.say("I wrote this in a tunnel.")
        await asyncio.sleep(3.5)
        await expect(chat.link).to_contain_text("The connection was lost.")
        await studio.shoot(chat, "reconnecting")
        await person.context.set_offline(True)
        await expect(chat.link).to_contain_text("You are offline.")
        await studio.shoot(chat, "offline")
        proxy.refusing, proxy.hole = False, True
        await person.context.set_offline(False)
        await expect(chat.link).to_contain_text("Connecting")
        await asyncio.sleep(1)
        await studio.shoot(chat, "coming-back")


async def shared(studio: Studio) -> None:
    async with studio.person() as person:
        chat = await person.open()
        await chat.ask("Why is the sky blue?")
        await chat.ask("/markdown")
        await chat.menu("Share")
        await chat.page.get_by_role("button", name="Create link").click()
        address = await chat.page.get_by_label("Public link").input_value()
        await chat.page.goto(address)
        await expect(chat.answers).to_have_count(2)
        await chat.page.evaluate(
            """() => {
                const view = document.querySelector("chatbox-app").shadowRoot.querySelector("chatbox-shared");
                const [, , question, answer] = view.messages;
                view.name = question.content = "How do I write Markdown?";
                view.messages = [{ ...question }, { ...answer, generation: 1 }];
            }"""
        )
        await studio.shoot(chat, "shared")


async def strangers(studio: Studio) -> None:
    async with studio.person() as person:
        page = await person.context.new_page()
        for name, path in (("no-token", ""), ("withdrawn", "s/unknown")):
            await page.goto(studio.server.base + path)
            await expect(page.get_by_role("heading").first).to_be_visible()
            await studio.shoot(ChatPage(page), name)


async def demonstration(studio: Studio) -> None:
    async with studio.person() as person:
        await person.context.route(
            "**/page.json",
            lambda route: route.fulfill(
                json={"mode": "development", "demo_model": True, "allowed_origins": [], "version": "0", "prefix": ""}
            ),
        )
        chat = await person.open()
        await studio.shoot(chat, "demo")
        await chat.page.locator("chatbox-demo summary").click()
        await studio.shoot(chat, "demo-open")


async def people(studio: Studio) -> None:
    headers = {"Authorization": f"Bearer {studio.server.token('bea', name='Bea Example', roles=['chat_admin'])}"}
    async with studio.person() as person, aiohttp.ClientSession(headers=headers) as http:
        chat = await person.open()
        await chat.ask("My parcel has not come, and the shop does not answer.")
        await chat.page.get_by_role("button", name="Get help from a person").click()
        await expect(chat.page.get_by_text("You asked for help from a person.")).to_be_visible()
        await studio.shoot(chat, "help")
        async with http.ws_connect(f"{studio.server.base}admin/ws") as line:
            bea = Colleague(line)
            bea.session_id = chat.session_id
            await bea.act("admin_join")
            await bea.say("Good morning! I am sorry about that. What is the number of your parcel?")
            await chat.say("It is 4711.")
            await bea.say("Thank you, I will ask the carrier.")
            await bea.type()
            await expect(chat.page.get_by_text("is typing")).to_be_visible()
            await studio.shoot(chat, "person")
            await bea.act("admin_leave")
            await expect(chat.page.locator("chatbox-help-line")).to_contain_text("The assistant answers again.")
            await studio.shoot(chat, "person-left")


VISITORS = [
    ("Cleo Example", "Can I change the address of an order?", False),
    ("Dan Example", "Which of the two is quieter?", False),
    ("Eva Example", "The voucher is not taken.", True),
    ("Fred Example", "My refund has not come.", True),
    ("Ann Example", "My parcel has not come, and the shop does not answer.", True),
]
COMFORT = """\
I am sorry that your parcel is late. Two things help:

1. The **number of the parcel** is in the e-mail of the shop.
2. With it the carrier's page says where it is.

If it was sent more than five days ago, a person can ask the carrier for you.
"""
REPLY_WITH = """([said, answered]) => {
    const staff = document.querySelector("chatbox-app").shadowRoot.querySelector("chatbox-staff");
    const front = staff.page.desk.conversations.get(staff.place.at);
    for (const message of front.log.messages.filter(({ sender, content }) => sender === "ai" && content.includes(said)))
        Object.assign(message, { content: answered, generation: 1, revision: message.revision + 1 });
    staff.revision++;
}"""
A_DAY = """() => {
    const staff = document.querySelector("chatbox-app").shadowRoot.querySelector("chatbox-staff");
    const { series, figures } = staff.page.desk.report.value;
    const wave = (index, length) => Math.sin((index / length) * 2 * Math.PI);
    series.forEach((bucket, index) => {
        const sessions = Math.round(Math.max(0, wave(index + 8, series.length)) * (6 + 2 * wave(index, 2.6)));
        const time = sessions && 1900 + 700 * wave(index, 3.7);
        Object.assign(bucket, {
            sessions, max_concurrent: Math.ceil(sessions * 1.6), messages: sessions * 9, tokens: sessions * 830,
            avg_response_time: time, max_response_time: time * 2.6, avg_first_token: time / 6,
            errors: Number(index % 31 === 7),
        });
    });
    const all = (name) => series.reduce((sum, bucket) => sum + bucket[name], 0);
    const most = (name) => Math.max(...series.map((bucket) => bucket[name]));
    Object.assign(figures, {
        total_sessions: all("sessions"), messages: all("messages"), total_tokens: all("tokens"), errors: all("errors"),
        active_sessions: 5, avg_concurrent: 3.42, max_concurrent: most("max_concurrent"), admin_assisted_count: 17,
        avg_first_token: 310, avg_response_time: 1930, max_response_time: most("max_response_time"),
    });
    staff.revision++;
}"""


async def desk(studio: Studio) -> None:
    async with AsyncExitStack() as opened, studio.person() as bea:
        for name, text, call in VISITORS:
            person = await opened.enter_async_context(studio.person())
            person.token = studio.server.token(person.user, name=name, context={"plan": "gold", "page": "Your orders"})
            ann = await person.open()
            await ann.ask(text)
            if call:
                await ann.page.get_by_role("button", name="Get help from a person").click()
        page = await sit_down(bea.context, studio.server, "bea", "Bea Example")
        await page.waiting.filter(has_text="Ann").click()
        await expect(page.take_over).to_be_enabled()
        await page.take()
        await page.note("Her second parcel that is late this month.")
        await page.pane.get_by_role("button", name="Reply", exact=True).click()
        await page.say("Good morning! I am sorry about that. What is the number of your parcel?")
        await ann.say("It is 4711.")
        await page.page.evaluate(REPLY_WITH, [VISITORS[-1][1], COMFORT])
        await expect(page.messages.get_by_text("It is 4711.", exact=True)).to_be_visible()
        await expect(page.waiting.filter(has_text="Ann")).to_have_count(0)
        await studio.shoot(page, "desk")
        if studio.size is PHONE:
            await page.page.get_by_role("button", name="Back to the list").click()
            await studio.shoot(page, "desk-list")
        await page.page.locator("chatbox-rail").get_by_role("button", name="Figures").click()
        await expect(page.page.get_by_text("Conversations begun")).to_be_visible()
        await page.page.evaluate(A_DAY)
        await studio.shoot(page, "figures")


async def german(studio: Studio) -> None:
    async with studio.person() as person:
        chat = await person.open(query="?lang=de")
        await studio.shoot(chat, "german")


SCENES = {
    scene.__name__: scene
    for scene in (empty, full, streaming, failing, cut, shared, strangers, demonstration, people, desk, german)
}


ONCE = [("light", DESKTOP), ("dark", PHONE)]
EVERYWHERE = [*ONCE, ("dark", DESKTOP), ("light", PHONE)]


async def main(folder: Path, chosen: list[str]) -> None:
    with tempfile.TemporaryDirectory() as data:
        async with serving(Path(data), {**ECHO, "RATE_LIMIT": "10000"}) as server, async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for name in chosen or SCENES:
                for scheme, size in EVERYWHERE if name in ("empty", "full") else ONCE:
                    await SCENES[name](Studio(browser, server, folder, scheme, size))
            await browser.close()


def shrink(folder: Path) -> None:
    """Fewer colours make small files; nobody sees the difference in a flat page."""
    from PIL import Image

    for file in folder.glob("*.png"):
        with Image.open(file) as image:
            image.convert("RGB").quantize(256, kmeans=3, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
    shrink(Path(sys.argv[1]))
