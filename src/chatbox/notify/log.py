"""Alerts as lines of the log: what there is without any other channel, and beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from chatbox.notify.base import Channel, Message, NotDelivered

log = structlog.get_logger(component="alerts")


class LogChannel(Channel):
    """Nobody has been told of what is in a log."""

    name = "log"
    reaches_people = False

    async def send(self, message: Message, to: Sequence[str]) -> Mapping[str, NotDelivered]:
        log.warning("alert", alert=message.id, event_link=message.link, held_back=len(message.lines) + message.more)
        return {}
