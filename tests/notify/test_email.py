"""E-mail over a real SMTP server."""

import asyncio
import ssl

import pytest

from chatbox.notify import email
from chatbox.notify.base import Alert, Event
from chatbox.notify.email import EmailChannel, MailServer
from chatbox.notify.words import message_of
from tests.notify.mailserver import PASSWORD, MailBox, mail_server, trusting

FROM = "chat@example.com"
OPS, HELP = "ops@example.com", "help@example.com"
PANEL = "https://chat.example.com/chatbox/"


def alert(**fields):
    known = {"id": "help:s1:5", "event": Event.HELP, "at": 1_790_000_000_000, "session_id": "s1"}
    return Alert(**known | {"user_id": "u1", "user_name": "Ann"} | fields)


def said(**fields):
    return message_of(alert(**fields), PANEL)


def bodies(mail):
    return [mail.get_body((kind,)).get_content() for kind in ("plain", "html")]


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_an_alert_arrives_over_an_encrypted_line_in_html_and_text(tmp_path, security):
    async with mail_server(tmp_path, security=security) as (box, server):
        channel = EmailChannel(server, FROM, trusting(tmp_path))
        assert await channel.send(said(), [OPS, HELP]) == {}
    [mail] = box.mails
    assert box.to == [[OPS, HELP]]
    assert box.secure == [True]
    assert mail["Subject"] == "[Chatbox] Ann asks for help"
    assert (mail["To"], mail["From"]) == (f"{OPS}, {HELP}", f"Chatbox <{FROM}>")
    for body in bodies(mail):
        assert "Ann (u1)" in body
        assert "2026-09-21 14:13:20 UTC" in body
        assert f"{PANEL}staff/c/s1" in body


async def test_every_copy_of_an_alert_has_the_same_message_id(tmp_path):
    async with mail_server(tmp_path) as (box, server):
        for _ in range(2):
            await EmailChannel(server, FROM, trusting(tmp_path)).send(said(), [OPS])
        await EmailChannel(server, FROM, trusting(tmp_path)).send(said(id="help:s1:6"), [OPS])
    first, second, other = [mail["Message-ID"] for mail in box.mails]
    assert first == second != other
    assert first.endswith("@example.com>")
    assert [mail["X-Chatbox-Alert"] for mail in box.mails] == ["help:s1:5", "help:s1:5", "help:s1:6"]


async def test_nothing_is_sent_where_the_line_can_not_be_encrypted(tmp_path):
    async with mail_server(tmp_path, security="none", auth=False) as (box, server):
        plainly = MailServer(host=server.host, port=server.port, security="starttls")
        [problem] = (await EmailChannel(plainly, FROM).send(said(), [OPS])).values()
        assert problem.transient
        assert box.mails == []


async def test_nothing_is_sent_to_a_server_whose_certificate_nobody_trusts(tmp_path):
    async with mail_server(tmp_path) as (box, server):
        [problem] = (await EmailChannel(server, FROM, ssl.create_default_context()).send(said(), [OPS])).values()
        assert problem.transient
        assert box.mails == []


async def test_a_wrong_password_is_tried_again_and_stands_in_no_error(tmp_path):
    async with mail_server(tmp_path) as (box, server):
        wrong = MailServer(
            host=server.host, port=server.port, security="starttls", user="chat", password=f"x{PASSWORD}"
        )
        [problem] = (await EmailChannel(wrong, FROM, trusting(tmp_path)).send(said(), [OPS])).values()
        assert problem.transient
        assert "535" in str(problem)
        assert PASSWORD not in str(problem)
        assert box.mails == []


async def test_each_address_has_its_own_outcome(tmp_path):
    box = MailBox()
    box.refuse = {"gone@example.com": "550 no such user", "full@example.com": "452 mailbox full"}
    async with mail_server(tmp_path, box=box) as (_, server):
        channel = EmailChannel(server, FROM, trusting(tmp_path))
        failures = await channel.send(said(), ["gone@example.com", "full@example.com", OPS])
        assert {address: failure.transient for address, failure in failures.items()} == {
            "gone@example.com": False,
            "full@example.com": True,
        }
        assert box.to == [[OPS]]
        failures = await channel.send(said(), ["gone@example.com", "full@example.com"])
        assert set(failures) == {"gone@example.com", "full@example.com"}
        assert "550 no such user" in str(failures["gone@example.com"])


@pytest.mark.parametrize(("answer", "transient"), [("451 try later", True), ("554 spam", False)])
async def test_what_the_server_says_to_the_mail_itself_decides(tmp_path, answer, transient):
    box = MailBox()
    box.data_answer = answer
    async with mail_server(tmp_path, box=box) as (_, server):
        [problem] = (await EmailChannel(server, FROM, trusting(tmp_path)).send(said(), [OPS])).values()
        assert problem.transient is transient


@pytest.mark.parametrize("command", ["EHLO", "RCPT", "DATA"])
@pytest.mark.parametrize("how", ["stall", "reset"])
async def test_a_server_that_stalls_or_cuts_the_line_is_tried_again(tmp_path, monkeypatch, how, command):
    monkeypatch.setattr(email, "PATIENCE", 2.0)
    box = MailBox()
    getattr(box, how).add(command)
    async with mail_server(tmp_path, box=box) as (_, server):
        async with asyncio.timeout(10):
            [problem] = (await EmailChannel(server, FROM, trusting(tmp_path)).send(said(), [OPS])).values()
        assert problem.transient
        getattr(box, how).clear()
        assert await EmailChannel(server, FROM, trusting(tmp_path)).send(said(), [OPS]) == {}
        assert len(box.mails) == 1


@pytest.mark.parametrize("how", ["stall", "reset"])
async def test_what_was_taken_counts_though_the_goodbye_fails(tmp_path, monkeypatch, how):
    monkeypatch.setattr(email, "GOODBYE", 0.2)
    box = MailBox()
    getattr(box, how).add("QUIT")
    async with mail_server(tmp_path, box=box) as (_, server):
        assert await EmailChannel(server, FROM, trusting(tmp_path)).send(said(), [OPS]) == {}


async def test_no_server_is_tried_again():
    channel = EmailChannel(MailServer(host="127.0.0.1", port=9, security="starttls"), FROM)
    [problem] = (await channel.send(said(), [OPS])).values()
    assert problem.transient


EVIL = "Ann\r\nBcc: everyone@example.com\r\n\r\n<script>alert(1)</script>\u202egnp.exe\x00"


async def test_a_name_adds_no_header_no_address_and_no_markup(tmp_path):
    async with mail_server(tmp_path) as (box, server):
        channel = EmailChannel(server, FROM, trusting(tmp_path))
        assert await channel.send(said(user_name=EVIL, user_id=f"u{EVIL}", facts={"Model": EVIL}), [OPS]) == {}
    [mail] = box.mails
    assert box.to == [[OPS]]
    assert mail["Bcc"] is None
    assert "\u202e" not in str(mail["Subject"])
    text, html = bodies(mail)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "\u202e" not in text
    assert not any(line.startswith("Bcc:") for line in text.splitlines())


@pytest.mark.parametrize("name", ["Jürgen Müller", "日本 太郎", "😀 " * 60, "ن" * 200, "\ud800x", "a" * 5000])
async def test_every_name_arrives(tmp_path, name):
    async with mail_server(tmp_path) as (box, server):
        assert await EmailChannel(server, FROM, trusting(tmp_path)).send(said(user_name=name), [OPS]) == {}
    [mail] = box.mails
    assert all(f"{name.replace(chr(0xD800), '').strip()[:10]}" in body for body in bodies(mail))
    assert max(len(line) for line in mail.as_bytes().splitlines()) <= 998


async def test_an_address_with_letters_beyond_ascii_is_reached(tmp_path):
    async with mail_server(tmp_path) as (box, server):
        assert await EmailChannel(server, FROM, trusting(tmp_path)).send(said(), ["jürgen@example.com"]) == {}
    assert box.to == [["jürgen@example.com"]]


async def test_an_address_that_the_server_can_not_serve_keeps_it_from_no_other(tmp_path):
    async with mail_server(tmp_path, ascii_only=True) as (box, server):
        failures = await EmailChannel(server, FROM, trusting(tmp_path)).send(said(), ["jürgen@example.com", OPS])
    assert list(failures) == ["jürgen@example.com"]
    assert box.to == [[OPS]]


async def test_a_digest_names_what_it_holds_and_how_much_more(tmp_path):
    held = tuple(alert(id=f"help:s{n}:5", session_id=f"s{n}", user_name=f"User {n}") for n in range(50))
    digest = Alert(id="digest:1", event=Event.DIGEST, at=1_790_000_000_000, held=held, count=5000)
    async with mail_server(tmp_path) as (box, server):
        await EmailChannel(server, FROM, trusting(tmp_path)).send(message_of(digest, PANEL), [OPS])
    [mail] = box.mails
    assert mail["Subject"] == "[Chatbox] 5000 alerts were held back"
    for body in bodies(mail):
        assert "User 0 asks for help" in body
        assert f"{PANEL}staff/c/s0" in body
        assert "and 4980 more" in body
