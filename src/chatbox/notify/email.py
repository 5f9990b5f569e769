"""Alerts by e-mail: one transaction with the mail server for each alert, in HTML and in text.

The line is encrypted as ``SMTP_SECURITY`` says, or there is none: a server that does not offer it gets nothing.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime, localtime
from hashlib import sha256

import aiosmtplib
import jinja2
import msgspec

from chatbox.notify.base import Channel, Message, NotDelivered, plain

PATIENCE = 30.0
"""Seconds that a mail server has for an alert, and for each of its answers half of that."""
GOODBYE = 2.0

OURS = frozenset({530, 534, 535, 538})
"""Codes about our own account, which people set right."""


class MailServer(msgspec.Struct, frozen=True, kw_only=True):
    """Where mail is handed in. ``security`` is starttls, tls or none."""

    host: str
    port: int
    security: str
    user: str = ""
    password: str = ""


class EmailChannel(Channel):
    """``sender`` is the address that alerts are from. ``trusted`` are certificates that count, None: the system's."""

    name = "email"

    def __init__(self, server: MailServer, sender: str, trusted: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._sender = sender
        self._trusted = trusted
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("chatbox.notify"),
            autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",)),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
        )

    async def send(self, message: Message, to: Sequence[str]) -> Mapping[str, NotDelivered]:
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._hand_in(self.mail(message, to), to)
        except aiosmtplib.SMTPNotSupported as error:
            if len(to) == 1:
                return {to[0]: failure_of(error)}
            return await self._one_by_one(message, to)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return dict.fromkeys(to, failure_of(error))

    def mail(self, message: Message, to: Sequence[str]) -> EmailMessage:
        """The alert as mail. Its Message-ID follows from the alert's id, so that mail programs know a second copy."""
        mail = EmailMessage(policy=WIRE.clone(utf8=not all(address.isascii() for address in to)))
        mail["From"] = f"Chatbox <{self._sender}>"
        mail["To"] = ", ".join(to)
        mail["Subject"] = f"[Chatbox] {plain(message.subject, 200)}"
        mail["Date"] = format_datetime(localtime())
        mail["Message-ID"] = message_id(message.id, self._sender)
        mail["X-Chatbox-Alert"] = plain(message.id, 200)
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(self._templates.get_template("alert.txt.j2").render(message=message))
        mail.add_alternative(self._templates.get_template("alert.html.j2").render(message=message), subtype="html")
        return mail

    async def _one_by_one(self, message: Message, to: Sequence[str]) -> Mapping[str, NotDelivered]:
        """What can't be done for one address, such as letters beyond ASCII, must not keep it from the others."""
        failures: dict[str, NotDelivered] = {}
        for address in to:
            failures |= await self.send(message, [address])
        return failures

    async def _hand_in(self, mail: EmailMessage, to: Sequence[str]) -> Mapping[str, NotDelivered]:
        client = self._client()
        try:
            await client.connect()
            refused, _ = await client.send_message(mail, sender=self._sender, recipients=list(to))
        except aiosmtplib.SMTPRecipientsRefused as error:
            return {one.recipient: failure_of(one) for one in error.recipients}
        else:
            return {address: answer_failure(code, text) for address, (code, text) in refused.items()}
        finally:
            await _part(client)

    def _client(self) -> aiosmtplib.SMTP:
        server = self._server
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            username=server.user or None,
            password=server.password or None,
            timeout=PATIENCE / 2,
            local_hostname=own_name(),
            tls_context=self._trusted,
        )


async def _part(client: aiosmtplib.SMTP) -> None:
    """Say goodbye, if there is somebody to hear it. What was handed in stays so."""
    with suppress(aiosmtplib.SMTPException, OSError):
        await client.quit(timeout=GOODBYE)
    client.close()


def failure_of(error: Exception) -> NotDelivered:
    """Our name for what the mail server, or the way to it, did."""
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            return NotDelivered(f"sign-in refused: {error.code} {plain(error.message, 200)}", transient=True)
        case aiosmtplib.SMTPResponseException():
            return answer_failure(error.code, error.message)
        case aiosmtplib.SMTPNotSupported():
            return NotDelivered(f"the mail server can't do it: {plain(str(error), 200)}", transient=True)
        case ssl.SSLError():
            return NotDelivered(f"no trusted line: {plain(str(error), 200)}", transient=True)
        case ValueError():
            return NotDelivered(f"no mail can be made of it: {plain(str(error), 200)}", transient=False)
        case TimeoutError():
            return NotDelivered("the mail server did not answer in time", transient=True)
        case _:
            return NotDelivered(f"{type(error).__name__}: {plain(str(error), 200)}", transient=True)


def answer_failure(code: int, text: str) -> NotDelivered:
    """What an answer of the mail server means."""
    return NotDelivered(f"{code} {plain(text, 200)}", transient=not 500 <= code < 600 or code in OURS)


def message_id(alert_id: str, sender: str) -> str:
    """The Message-ID of an alert: the same for every try, and for every process."""
    domain = sender.rpartition("@")[2].encode("idna").decode()
    return f"<{sha256(alert_id.encode()).hexdigest()[:40]}@{domain}>"


def own_name() -> str:
    """How this machine names itself to the mail server; no name is looked up for that."""
    name = socket.gethostname()
    return name if "." in name and name.isascii() else "[127.0.0.1]"
