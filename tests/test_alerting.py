"""Alerts of a server process: killed, started again, with a mail server and a telephone beside it."""

import signal
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.live import Client, token
from tests.notify.mailserver import PASSWORD, USER, MailBox, mail_server
from tests.notify.twilio_peer import ACCOUNT, SENDER, TOKEN, twilio_peer
from tests.processes import Service

PANEL = "https://chat.example.com/chatbox/"
OPS, PHONE = "ops@example.com", "+4915112345678"

pytestmark = pytest.mark.slow


def settings(folder, server, **more):
    return {
        "ADMIN_PANEL_URL": PANEL, "ADMIN_EMAILS": OPS, "EMAIL_FROM": "chat@example.com", "SMTP_HOST": server.host,
        "SMTP_PORT": str(server.port), "SMTP_USER": USER, "SMTP_PASS": PASSWORD,
        "SSL_CERT_FILE": str(folder / "mail.pem"), **more,
    }  # fmt: skip


def texts(base):
    return {
        "ADMIN_PHONES": PHONE, "SMS_PROVIDER": "twilio", "SMS_ENDPOINT": base, "SMS_ACCOUNT_SID": ACCOUNT,
        "SMS_AUTH_TOKEN": TOKEN, "SMS_FROM": SENDER,
    }  # fmt: skip


@asynccontextmanager
async def socket(service, **query):
    headers = {"Authorization": f"Bearer {token()}"}
    url = f"{service.http}/ws"
    async with aiohttp.ClientSession() as http, http.ws_connect(url, headers=headers, params=query) as line:
        yield Client(line)


async def ask(client):
    """Ask for help; the session's id once that is acknowledged."""
    session_id = (await client.next("connection_status"))["session_id"]
    await client.say("help_request", message_id="h")
    await client.next("ack")
    return session_id


async def told(client):
    """What the user hears once staff were told."""
    while (frame := await client.next("notification", patience=60))["metadata"]["state"] != "told":
        pass
    return frame["metadata"]


def about(mails, text):
    return [mail for mail in mails if text in mail["Subject"]]


async def test_a_call_is_an_e_mail_and_a_text_and_the_user_is_told_when(tmp_path):
    async with mail_server(tmp_path) as (box, server), twilio_peer() as (phones, base):
        service = Service(tmp_path, **settings(tmp_path, server), **texts(base))
        try:
            await service.start()
            async with socket(service) as client:
                session_id = await ask(client)
                assert (await told(client))["at"].endswith("Z")
            [mail] = await box.arrived()
            [(to, text)] = await phones.arrived()
            link = f"{PANEL}staff/c/{session_id}"
            assert mail["Subject"] == "[Chatbox] Ann asks for help"
            assert all(link in mail.get_body((kind,)).get_content() for kind in ("plain", "html"))
            assert (to, link in text) == (PHONE, True)
            assert await service.signal(signal.SIGTERM) == 0
            await service.start()
            assert len(box.mails) == len(phones.messages) == 1
        finally:
            await service.end()


async def test_a_call_outlives_a_server_that_is_killed_before_it_could_send(tmp_path):
    box = MailBox()
    box.stall = {"EHLO"}
    async with mail_server(tmp_path, box=box) as (_, server):
        service = Service(tmp_path, **settings(tmp_path, server))
        try:
            await service.start()
            async with socket(service) as client:
                session_id = await ask(client)
                await service.kill()
            assert box.mails == []
            box.stall = set()
            await service.start()
            mails = await box.arrived(2)
            assert len(about(mails, "asks for help")) == len(about(mails, "A server has crashed")) == 1
            assert session_id in about(mails, "asks for help")[0].get_body(("plain",)).get_content()
            async with socket(service, session_id=session_id) as client:
                greeting = await client.next("connection_status")
                if greeting["metadata"]["help_state"] != "told":
                    await told(client)
            await service.kill()
            await service.start()
            await box.arrived(3)
            assert len(about(box.mails, "asks for help")) == 1
        finally:
            await service.end()


async def test_a_mail_whose_taking_nobody_heard_of_comes_again_under_the_same_id(tmp_path):
    box = MailBox()
    box.stall = {"DATA-END"}
    async with mail_server(tmp_path, box=box) as (_, server):
        service = Service(tmp_path, **settings(tmp_path, server))
        try:
            await service.start()
            async with socket(service) as client:
                await ask(client)
                await box.arrived()
                await service.kill()
            box.stall = set()
            await service.start()
            first, *later = about(await box.arrived(3), "asks for help")
            assert [mail["Message-ID"] for mail in later] == [first["Message-ID"]]
        finally:
            await service.end()


async def test_a_mail_server_that_stalls_holds_up_neither_users_nor_the_end(tmp_path):
    box = MailBox()
    box.stall = {"EHLO"}
    async with mail_server(tmp_path, box=box) as (_, server), twilio_peer() as (phones, base):
        service = Service(tmp_path, **settings(tmp_path, server), **texts(base))
        try:
            await service.start()
            async with socket(service) as client:
                await ask(client)
                await phones.arrived()
                await told(client)
                await client.say("user_message", message_id="m", content="Still there?")
                await client.answer()
            assert await service.signal(signal.SIGTERM, patience=20) == 0
            assert "Traceback" not in service.text
        finally:
            await service.end()


async def test_a_server_that_stops_as_it_should_has_not_crashed(tmp_path):
    async with mail_server(tmp_path) as (box, server):
        service = Service(tmp_path, **settings(tmp_path, server))
        try:
            await service.start()
            assert await service.signal(signal.SIGTERM) == 0
            await service.start()
            async with socket(service) as client:
                await ask(client)
                await box.arrived()
            assert about(box.mails, "crashed") == []
        finally:
            await service.end()
