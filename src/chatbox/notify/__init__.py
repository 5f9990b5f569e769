"""Telling staff: alerts, the outbox that keeps them until they are delivered, and one module a channel."""

from __future__ import annotations

from chatbox.notify.log import LogChannel
from chatbox.notify.outbox import Channels, Way
from chatbox.settings import Settings


def open_channels(settings: Settings) -> Channels:
    """The channels that are configured, each with its addresses; to be opened by ``async with``."""
    found = [Way(LogChannel(), ("log",))]
    if settings.smtp_host:
        from chatbox.notify.email import EmailChannel, MailServer

        server = MailServer(
            host=settings.smtp_host,
            port=settings.smtp_port,
            security=settings.smtp_security,
            user=settings.smtp_user,
            password=settings.smtp_pass.get_secret_value() if settings.smtp_pass else "",
        )
        channel = EmailChannel(server, settings.email_from)
        found.append(Way(channel, settings.admin_emails, settings.escalation_emails))
    if settings.sms_provider and settings.sms_auth_token:
        from chatbox.notify.sms import SmsChannel

        token = settings.sms_auth_token.get_secret_value()
        phone = SmsChannel(settings.sms_endpoint, settings.sms_account_sid, token, settings.sms_from)
        found.append(Way(phone, settings.admin_phones, settings.escalation_phones))
    return {way.channel.name: way for way in found}
