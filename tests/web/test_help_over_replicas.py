"""A call for help from its beginning to its end: two browsers, three replicas, a mail server and a telephone."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from cluster import Cluster
from tests.live import SECRET
from tests.llm.standins.openai import OpenAIServer, chunk
from tests.llm.standins.server import KEY, data
from tests.notify.mailserver import PASSWORD, USER, MailBox, mail_server
from tests.notify.twilio_peer import ACCOUNT, SENDER, TOKEN, Phones, twilio_peer
from tests.processes import environment

from .conftest import PATIENCE, ChatPage, Person, Server
from .staff import DeskPage, staff_context

pytestmark = [
    pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="session")
]  # fmt: skip

CALLED = "+4915112345678"
PICTURES = Path(__file__).parents[2] / "test-results" / "help"


class Clerk(OpenAIServer):
    """A model that talks for long about an invoice, and else says what it was told before."""

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        *before, question = [message["content"] for message in body["messages"]]
        yield data(chunk({"role": "assistant", "content": ""}))
        if "invoice" in question:
            for number in range(600):
                yield data(chunk({"content": f"word{number} "}))
                await asyncio.sleep(0.05)
        else:
            told = [line for text in before for line in text.split("\n") if line.startswith("Bea: ")]
            yield data(chunk({"content": f"I was told: {' / '.join(told)}"}))
        yield data(chunk({}, "stop"))
        yield "data: [DONE]\n\n"


class House:
    """The cluster, and what is told to staff who are not there."""

    def __init__(self, cluster: Cluster, box: MailBox, phones: Phones, chromium: Browser, opened: AsyncExitStack):
        self.box = box
        self.phones = phones
        self._chromium = chromium
        self._opened = opened
        self._servers = [Server(f"{replica.http}/", "", SECRET) for replica in cluster.replicas]

    async def user(self, name: str, *, on: int) -> ChatPage:
        context = await self._chromium.new_context(locale="en-GB", viewport={"width": 1000, "height": 700})
        context.set_default_timeout(PATIENCE)
        self._opened.push_async_callback(context.close)
        person = Person(self._servers[on], context, name.lower())
        person.token = self._servers[on].token(person.user, name=name)
        return await person.open()

    async def staff(self, name: str, link: str, *, on: int) -> DeskPage:
        """Follow a link, on a replica that the balancer might have chosen."""
        context = await staff_context(self._chromium)
        self._opened.push_async_callback(context.close)
        page = await context.new_page()
        token = self._servers[on].token(name.lower(), name=name, roles=["chat_admin"])
        path = re.sub(r"^https?://[^/]+/chatbox/", "", link)
        await page.goto(f"{self._servers[on].base}{path}#token={token}")
        return DeskPage(page)


@pytest_asyncio.fixture(loop_scope="session")
async def house(tmp_path: Path, chromium: Browser) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        front = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
        model = await stack.enter_async_context(Clerk())
        box, mail = await stack.enter_async_context(mail_server(tmp_path))
        phones, telephone = await stack.enter_async_context(twilio_peer())
        settings = {
            "CHATBOX_MODE": "development", "LLM_PROVIDER_1_TYPE": "openai", "LLM_PROVIDER_1_MODEL": "small",
            "LLM_PROVIDER_1_API_KEY": KEY, "LLM_PROVIDER_1_ENDPOINT": model.url,
            "ADMIN_PANEL_URL": f"http://127.0.0.1:{front.getsockname()[1]}/chatbox/",
            "ADMIN_EMAILS": "ops@example.com", "EMAIL_FROM": "chat@example.com", "SMTP_HOST": mail.host,
            "SMTP_PORT": str(mail.port), "SMTP_USER": USER, "SMTP_PASS": PASSWORD,
            "SSL_CERT_FILE": str(tmp_path / "mail.pem"), "ADMIN_PHONES": CALLED, "SMS_PROVIDER": "twilio",
            "SMS_ENDPOINT": telephone, "SMS_ACCOUNT_SID": ACCOUNT, "SMS_AUTH_TOKEN": TOKEN, "SMS_FROM": SENDER,
        }  # fmt: skip
        folder = tmp_path / "cluster"
        log = stack.enter_context((tmp_path / "log.txt").open("w"))
        cluster = Cluster(
            folder, environment(folder, **settings), front, lambda name, line: print(name, line, file=log, flush=True)
        )
        await stack.enter_async_context(cluster)
        yield House(cluster, box, phones, chromium, await stack.enter_async_context(AsyncExitStack()))


async def picture(name: str, **pages: Page) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for who, page in pages.items():
        await page.screenshot(path=PICTURES / f"{name}-{who}.png")


async def test_from_a_call_for_help_over_an_e_mail_to_a_person_and_back_to_an_ai_that_knows_it(house: House) -> None:
    ann = await house.user("Ann", on=0)
    await ann.say("my invoice is wrong")
    await expect(ann.answers.last).to_contain_text("word3")
    await ann.page.get_by_role("button", name="Get help from a person").click()

    [mail] = await house.box.arrived()
    [(number, text)] = await house.phones.arrived()
    assert (number, "Ann" in mail["Subject"] + mail.get_body().get_content(), bool(text)) == (CALLED, True, True)
    link = re.search(r"Open: (\S+)", mail.get_body(("plain",)).get_content())[1]
    await picture("1-asked", user=ann.page)

    bea = await house.staff("Bea", link, on=1)
    await expect(bea.pane.get_by_role("heading", name="Ann")).to_be_visible()
    await expect(bea.messages.get_by_role("article", name="Assistant").last).to_contain_text("is writing")
    await picture("2-watched", user=ann.page, staff=bea.page)
    await bea.take()
    await expect(ann.answers).to_have_count(1)
    await expect(ann.answers.last).to_contain_text("Stopped")
    shown = await ann.answers.last.inner_text()
    await bea.say("The code is 42.")
    await expect(ann.page.get_by_role("article", name="Bea")).to_contain_text("The code is 42.")
    await ann.say("thank you")
    await expect(bea.messages.get_by_role("article", name="Ann").last).to_contain_text("thank you")
    await picture("3-taken-over", user=ann.page, staff=bea.page)
    await bea.say("You are welcome.")
    await expect(ann.page.get_by_role("article", name="Bea").last).to_contain_text("You are welcome.")
    assert await ann.answers.all_inner_texts() == [shown]

    await bea.hand_back.click()
    await expect(bea.owner).to_contain_text("The AI answers")
    answer = await ann.ask("what is my code?")
    await expect(answer).to_contain_text("I was told: Bea: The code is 42. / Bea: You are welcome.")
    await expect(bea.messages.get_by_role("article", name="Assistant").last).to_contain_text("The code is 42.")
    await picture("4-handed-back", user=ann.page, staff=bea.page)
    assert (len(house.box.mails), len(house.phones.messages)) == (1, 1)
