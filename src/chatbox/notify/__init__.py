"""Telling staff: alerts, the outbox that keeps them until they are delivered, and one module a channel."""

from __future__ import annotations

from collections.abc import Mapping

from chatbox.notify.base import Channel
from chatbox.notify.log import LogChannel
from chatbox.settings import Settings


def open_channels(settings: Settings) -> Mapping[str, tuple[Channel, tuple[str, ...]]]:
    """The channels that are configured, by name, each with its addresses; to be opened by ``async with``."""
    found: list[tuple[Channel, tuple[str, ...]]] = [(LogChannel(), ("log",))]
    if settings.smtp_host:
        from chatbox.notify.email import EmailChannel, MailServer

        server = MailServer(
            host=settings.smtp_host,
            port=settings.smtp_port,
            security=settings.smtp_security,
            user=settings.smtp_user,
            password=settings.smtp_pass.get_secret_value() if settings.smtp_pass else "",
        )
        found.append((EmailChannel(server, settings.email_from), settings.admin_emails))
    if settings.sms_provider and settings.sms_auth_token:
        from chatbox.notify.sms import SmsChannel

        token = settings.sms_auth_token.get_secret_value()
        channel = SmsChannel(settings.sms_endpoint, settings.sms_account_sid, token, settings.sms_from)
        found.append((channel, settings.admin_phones))
    return {channel.name: (channel, addresses) for channel, addresses in found}
