"""The page in other languages, sizes and colours, for people who see it differently, and under load."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.async_api import Browser, Page, expect

from .conftest import PATIENCE, ChatPage, Person, Server, serving
from .proxy import Proxy

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}


async def violations(page: Page) -> list[str]:
    """What axe finds, with where."""
    await page.evaluate(AXE_FILE_PATH.read_text("utf-8"))
    found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_axe_finds_nothing(server: Server, chromium: Browser, scheme: str, size: dict[str, int]) -> None:
    context = await chromium.new_context(color_scheme=scheme, viewport=size, locale="en-GB", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    person = Person(server, context, f"axe-{scheme}-{size['width']}")
    chat = await person.open()
    assert await violations(chat.page) == []
    await chat.ask("/markdown")
    await chat.ask("/file https://files.example/report.pdf")
    await chat.ask("/fail refused")
    await chat.page.get_by_role("button", name="Get help from a person").click()
    await expect(chat.page.get_by_text("You asked for help from a person.")).to_be_visible()
    assert await violations(chat.page) == []
    if size is PHONE:
        await chat.page.get_by_role("button", name="Show conversations").click()
    await expect(chat.rows).to_have_count(1)
    await chat.rows.first.get_by_role("button", name=re.compile("Actions for")).click()
    assert await violations(chat.page) == []
    await chat.page.get_by_role("menuitem", name="Share").click()
    await chat.page.get_by_role("button", name="Create link").click()
    address = await chat.page.get_by_label("Public link").input_value()
    assert await violations(chat.page) == []
    for other in (address, f"{server.base}s/unknown", f"{server.base}staff"):
        await chat.page.goto(other)
        await expect(chat.page.get_by_role("heading").first).to_be_visible()
        assert await violations(chat.page) == []
    await context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_axe_finds_nothing_while_the_connection_is_lost_and_found(
    server: Server, chromium: Browser, scheme: str, size: dict[str, int]
) -> None:
    context = await chromium.new_context(color_scheme=scheme, viewport=size, locale="en-GB", reduced_motion="reduce")
    async with Proxy(server.port) as network:
        chat = await Person(server, context, f"lost-{scheme}-{size['width']}").open(base=network.base(server.base))
        await chat.ask("hello")
        network.refusing = True
        network.cut()
        await expect(chat.link).to_contain_text("The connection was lost.")
        await chat.say("from the tunnel")
        assert await violations(chat.page) == []
        await context.set_offline(True)
        await expect(chat.link).to_contain_text("You are offline.")
        assert await violations(chat.page) == []
        network.refusing, network.hole = False, True
        await context.set_offline(False)
        await expect(chat.link).to_contain_text("Connecting")
        assert await violations(chat.page) == []
    await context.close()


async def test_the_page_speaks_german(person: Person) -> None:
    chat = await person.open(query="?lang=de")
    page = chat.page
    await expect(page.get_by_role("heading", name="Was möchten Sie wissen?")).to_be_visible()
    assert await page.evaluate("document.documentElement.lang") == "de"
    await page.get_by_role("textbox", name="Nachricht", exact=True).fill("Guten Tag")
    await page.get_by_role("button", name="Senden").click()
    await expect(page.get_by_role("article", name="Assistent")).to_contain_text("Guten Tag")
    await expect(chat.rows.first).to_contain_text("2 Nachrichten")
    await page.get_by_label("Sprache").select_option("English")
    await expect(page.get_by_role("textbox", name="Message", exact=True)).to_be_visible()


async def test_the_readers_language_is_chosen(server: Server, chromium: Browser) -> None:
    context = await chromium.new_context(locale="de-AT")
    page = await context.new_page()
    await page.goto(server.base)
    await expect(page.get_by_role("heading", name="Bitte erst anmelden")).to_be_visible()
    await context.close()


async def test_the_appearance_is_chosen_and_kept_in_the_tab(chat: ChatPage) -> None:
    def background() -> str:
        return "getComputedStyle(document.body).backgroundColor"

    light = await chat.page.evaluate(background())
    await chat.page.get_by_label("Appearance").select_option("Dark")
    dark = await chat.page.evaluate(background())
    assert light != dark
    await chat.page.reload()
    await expect(chat.page.get_by_label("Appearance")).to_have_value("dark")
    assert await chat.page.evaluate(background()) == dark


async def test_nothing_is_wider_than_a_phone(server: Server, chromium: Browser) -> None:
    context = await chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    person = Person(server, context, "phone-user")
    chat = await person.open()
    await chat.ask("/markdown")
    await chat.ask("a" * 300)
    assert await chat.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    scroller = chat.page.locator("chatbox-messages .scroller")
    assert await scroller.evaluate("element => element.scrollWidth <= element.clientWidth")
    await context.close()


async def test_the_drawer_takes_the_focus_and_gives_it_back(server: Server, chromium: Browser) -> None:
    context = await chromium.new_context(viewport=PHONE, locale="en-GB")
    chat = await Person(server, context, "drawer-user").open()
    opener = chat.page.get_by_role("button", name="Show conversations")
    await opener.click()
    await expect(chat.page.get_by_role("button", name="Close conversations")).to_be_focused()
    await chat.page.keyboard.press("Escape")
    await expect(opener).to_be_focused()
    await context.close()


async def test_a_finished_answer_is_announced_and_its_pieces_are_not(chat: ChatPage) -> None:
    status = chat.page.locator("chatbox-messages [role=status]")
    await chat.say("/slow 80 " + "calm " * 20)
    await expect(chat.answers.last).to_contain_text("calm calm")
    assert await status.inner_text() == ""
    await expect(status).to_contain_text("Answer: calm calm")


class Tasks:
    """What a page's main thread did while it was watched, piece by piece."""

    def __init__(self, trace: bytes) -> None:
        events = json.loads(trace)["traceEvents"]
        named = [event for event in events if event["name"] == "thread_name"]
        main = {(event["pid"], event["tid"]) for event in named if event["args"]["name"] == "CrRendererMain"}
        self._cpu = [
            event["tdur"] / 1000
            for event in events
            if event["name"].endswith("RunTask") and "tdur" in event and (event["pid"], event["tid"]) in main
        ]

    @property
    def longest(self) -> float:
        """In ms of the processor's time: waiting for it on a busy machine is not the page's fault."""
        return max(self._cpu)


ANSWERING = """document.querySelector("chatbox-app").shadowRoot.querySelector("chatbox-chat")
    .shadowRoot.querySelector("chatbox-composer").answering"""


@pytest.mark.parametrize("question", ["/long 20000", "/list 20000"], ids=["one paragraph", "one list"])
async def test_twenty_thousand_tokens_do_not_block_the_page(chat: ChatPage, chromium: Browser, question: str) -> None:
    await chat.ask("hello")
    # Chromium's own finder of roles keeps a page busy that has so many elements: the end is found without it.
    await chromium.start_tracing(page=chat.page, categories=["toplevel"])
    await chat.say(question)
    for moment in (f"() => {ANSWERING}", f"() => !{ANSWERING}"):
        await chat.page.wait_for_function(moment, polling=200, timeout=60_000)
    await chat.page.wait_for_timeout(2_000)
    tasks = Tasks(await chromium.stop_tracing())
    await expect(chat.answers.last).to_contain_text("20000")
    assert tasks.longest < 50
    scroller = chat.page.locator("chatbox-messages .scroller")
    assert await scroller.evaluate("element => element.scrollHeight - element.scrollTop - element.clientHeight") < 60


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def two_models(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    settings = {
        "LLM_PROVIDER_1_TYPE": "echo",
        "LLM_PROVIDER_1_ID": "first",
        "LLM_PROVIDER_1_NAME": "First model",
        "LLM_PROVIDER_2_TYPE": "echo",
        "LLM_PROVIDER_2_ID": "second",
        "LLM_PROVIDER_2_NAME": "Second model",
    }
    async with serving(tmp_path_factory.mktemp("models"), settings) as running:
        yield running


async def test_one_of_several_models_is_chosen(two_models: Server, chromium: Browser) -> None:
    context = await chromium.new_context(locale="en-GB")
    chat = await Person(two_models, context, "chooser").open()
    await chat.ask("hello")
    selector = chat.page.get_by_label("Model", exact=True)
    await expect(selector).to_have_value("first")
    await selector.select_option("Second model")
    await expect(chat.page.get_by_text("Model: Second model")).to_be_visible()
    await chat.page.reload()
    await expect(selector).to_have_value("second")
    await context.close()


async def test_a_model_that_can_not_be_chosen_now_is_not_shown_as_chosen(two_models: Server, chromium: Browser) -> None:
    context = await chromium.new_context(locale="en-GB")
    async with Proxy(two_models.port) as network:
        chat = await Person(two_models, context, "unlucky").open(base=network.base(two_models.base))
        await chat.ask("hello")
        network.refusing = True
        network.cut()
        await expect(chat.link).to_contain_text("The connection was lost.")
        selector = chat.page.get_by_label("Model", exact=True)
        await selector.select_option("Second model")
        await expect(chat.page.get_by_text("There is no connection at the moment.")).to_be_visible()
        await expect(selector).to_have_value("first")
        network.refusing = False
        await expect(chat.link).to_have_text("")
        await selector.select_option("Second model")
        await expect(chat.page.get_by_text("Model: Second model")).to_be_visible()
        await expect(selector).to_have_value("second")
    await context.close()
