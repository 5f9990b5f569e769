"""Sessions, entries and changes to store: plain ones, and any that the rules allow."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from chatbox.keyring import Keyring
from chatbox.session import Change, Entry, Help, Kind, Sender, Session, new_id

NOON = 1_790_000_000_000
"""A time in ms, in September 2026."""

KEYS = [("new", bytes(range(32))), ("old", bytes(range(32, 64)))]


def ring(*ids: str) -> Keyring:
    """A key ring with these of the keys; the first one seals."""
    return Keyring([(key_id, dict(KEYS)[key_id]) for key_id in ids])


def session(**fields: Any) -> Session:
    given = {"id": new_id(), "user_id": "ada", "epoch": new_id(), "last_activity": NOON} | fields
    return Session(**given)


def entry(session_id: str, **fields: Any) -> Entry:
    given = {"kind": Kind.USER_MESSAGE, "message_id": new_id(), "sender": Sender.USER, "timestamp": NOON} | fields
    return Entry(session_id=session_id, **given)


def turn(session_id: str, **fields: Any) -> Entry:
    return entry(session_id, kind=Kind.TURN, sender=Sender.SYSTEM, **fields)


def answer(session_id: str, **fields: Any) -> Entry:
    return entry(session_id, kind=Kind.AI_RESPONSE, sender=Sender.AI, **fields)


texts = st.text(max_size=200)
"""Any characters that can be stored: all but lone surrogates."""

words = st.text(min_size=1, max_size=20)
times = st.integers(0, 4_000_000_000_000)
counts = st.integers(0, 2**40)
mappings = st.dictionaries(words, texts, max_size=4)
optional_words = st.none() | words

entries = st.builds(
    entry,
    session_id=words,
    kind=st.sampled_from(Kind),
    message_id=words,
    sender=st.sampled_from(Sender),
    content=texts,
    timestamp=times,
    model_id=optional_words,
    file_id=optional_words,
    file_url=optional_words,
    metadata=mappings,
    superseded=st.booleans(),
)

sessions = st.builds(
    session,
    id=st.builds(new_id),
    user_id=words,
    epoch=words,
    name=texts,
    user_name=texts,
    model_id=optional_words,
    start_time=times,
    end_time=st.none() | times,
    last_activity=times,
    opened_at=st.none() | times,
    duration_ms=counts,
    message_count=counts,
    total_tokens=counts,
    response_times=st.lists(counts, max_size=100),
    help_state=st.sampled_from(Help),
    help_requested=st.booleans(),
    help_since=st.none() | times,
    admin_assisted=st.booleans(),
    assisting_admin_id=optional_words,
    assisting_admin_name=optional_words,
    assisted_since=st.none() | times,
    assisted_index=counts,
    staff_messages=counts,
    share_token=optional_words,
    last_index=counts,
    fence=counts,
    answer_id=optional_words,
    context=mappings,
)

changes = st.builds(
    Change,
    name=st.none() | texts,
    first_name=st.none() | texts,
    model_id=st.none() | texts,
    help_state=st.none() | st.sampled_from(Help),
    active=st.none() | st.booleans(),
    share_token=st.none() | st.just("") | words,
    ends_turn=st.booleans(),
    response_ms=st.none() | counts,
    tokens=st.integers(0, 10_000),
    context=st.none() | mappings,
)
