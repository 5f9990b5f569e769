"""Alerts in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote

from chatbox.notify.base import LIST_LENGTH, Alert, Event, Line, Message, plain

SUBJECTS = {
    Event.HELP: "{who} asks for help",
    Event.HELP_UNANSWERED: "{who} is still waiting for help",
    Event.HELP_REMINDER: "{who} asked for help while nobody was there",
    Event.LLM_FAILING: "The model {model} fails",
    Event.DATABASE_FAILING: "The database fails",
    Event.CRASHED: "A server has crashed",
    Event.TRAFFIC: "Unusual traffic",
    Event.DIGEST: "{count} alerts were held back",
}


def message_of(alert: Alert, panel_url: str) -> Message:
    """What is sent for an alert. ``panel_url`` is where the staff's pages are, or empty."""
    shown = alert.held[:LIST_LENGTH]
    return Message(
        id=alert.id,
        short_id=alert.short_id,
        subject=subject_of(alert),
        facts=tuple(_facts(alert)),
        link=link_to(alert, panel_url),
        lines=tuple(Line(f"{clock(held.at)}: {subject_of(held)}", link_to(held, panel_url)) for held in shown),
        more=max(0, alert.count - len(shown)),
    )


def subject_of(alert: Alert) -> str:
    """What happened, in one line."""
    if alert.event is Event.DATABASE_FAILING and "Until" in alert.facts:
        return "The database failed, and works again"
    if alert.event is Event.DIGEST and alert.count == 1:
        return "1 alert was held back"
    who = plain(alert.user_name) or plain(alert.user_id) or "Somebody"
    model = plain(alert.facts.get("Model", ""))
    return SUBJECTS[alert.event].format(who=who, model=model, count=alert.count)


def link_to(alert: Alert, panel_url: str) -> str:
    """The page of the alert's session, or the staff's first page."""
    if not panel_url:
        return ""
    base = panel_url.rstrip("/")
    staff = base if base.endswith("/staff") else f"{base}/staff"
    return f"{staff}/c/{quote(alert.session_id, safe='')}" if alert.session_id else staff


def clock(at: int) -> str:
    """A time in ms as people read it."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _facts(alert: Alert) -> Iterator[tuple[str, str]]:
    yield "Time", clock(alert.at)
    if alert.user_id:
        yield "User", f"{plain(alert.user_name)} ({plain(alert.user_id)})" if alert.user_name else plain(alert.user_id)
    if alert.session_id:
        yield "Conversation", alert.session_id
    for name, value in alert.facts.items():
        yield plain(name), plain(value, 200)
    if alert.affected:
        yield "Users affected", str(alert.affected)
    if alert.users:
        named = [plain(user) for user in alert.users[:LIST_LENGTH]]
        yield "Among them", ", ".join(named)
