"""Whose a session is, in every store: staff take it between answers only, and alone act in it while they have it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatbox.errors import Fenced, NotFound
from chatbox.session import Change, Entry, Help, Kind, Sender, Session, Takeover
from chatbox.storage.base import AI, Appended, CellStorage, Copy, SessionQuery, Storage
from tests.storage.test_contract import answering, started
from tests.storage.values import NOON, answer, entry, turn


def joining(who: str, **fields: Any) -> Change:
    return Change(joins=who, admin_name=who.title(), **fields)


def staff(session_id: str, **fields: Any) -> Entry:
    return entry(session_id, **{"sender": Sender.ADMIN, "timestamp": NOON + 10} | fields)


async def join(storage: Storage, session_id: str, who: str = "bea", **fields: Any) -> Appended:
    return await storage.append(staff(session_id, kind=Kind.ADMIN_JOIN, **fields), joining(who))


async def leave(storage: Storage, session_id: str, who: str = "bea", **fields: Any) -> Appended:
    return await storage.append(staff(session_id, kind=Kind.ADMIN_LEAVE, **fields), Change(leaves=True, by=who))


async def listed(storage: Storage, **query: Any) -> list[Session]:
    return await storage.find(SessionQuery(**query))


async def test_who_joins_has_the_session_and_raises_its_fence(storage: Storage) -> None:
    new = await started(storage)
    joined = (await join(storage, new.id)).session
    assert (joined.assisting_admin_id, joined.assisting_admin_name, joined.admin_assisted) == ("bea", "Bea", True)
    assert (joined.assisted_since, joined.assisted_index, joined.staff_messages) == (NOON + 10, 2, 0)
    assert joined.fence == new.fence + 1
    assert await storage.get(new.id) == joined
    assert await listed(storage, assisted=True) == [joined]
    assert await listed(storage, assisted=False) == []


async def test_nobody_joins_while_an_answer_is_running(storage: Storage) -> None:
    running = await answering(storage)
    with pytest.raises(Fenced):
        await join(storage, running.id)
    assert await storage.get(running.id) == running
    await storage.append(answer(running.id), Change(ends_turn=True), fence=running.fence)
    assert (await join(storage, running.id)).fresh


async def test_an_answer_does_not_begin_while_staff_have_the_session(storage: Storage) -> None:
    new = await started(storage)
    joined = (await join(storage, new.id)).session
    for fence in (None, new.fence, joined.fence):
        with pytest.raises(Fenced):
            await storage.append(turn(new.id), Change(takes_turn="answer"), fence=fence)
    assert await storage.get(new.id) == joined
    assert len(await storage.read(new.id)) == 2


async def test_a_turn_that_began_before_a_takeover_writes_nothing_after_it(storage: Storage) -> None:
    running = await answering(storage)
    ended = (await storage.append(answer(running.id), Change(ends_turn=True), fence=running.fence)).session
    await join(storage, running.id)
    for change in (Change(), Change(ends_turn=True), Change(takes_turn="next"), Change(by=AI)):
        with pytest.raises(Fenced):
            await storage.append(answer(running.id), change, fence=ended.fence)
    assert [one.kind for one in await storage.read(running.id)][-1] is Kind.ADMIN_JOIN


async def test_of_two_who_join_at_once_one_has_the_session(storage: Storage) -> None:
    new = await started(storage)
    names = ["bea", "cy", "di", "eve"]
    outcomes = await asyncio.gather(*(join(storage, new.id, name) for name in names), return_exceptions=True)
    winners = [name for name, outcome in zip(names, outcomes, strict=True) if isinstance(outcome, Appended)]
    assert sum(isinstance(outcome, Fenced) for outcome in outcomes) == 3
    found = await storage.get(new.id)
    assert found is not None
    assert [found.assisting_admin_id] == winners
    assert len(await storage.read(new.id)) == 2


async def test_of_a_takeover_and_an_answer_that_begin_at_once_one_is_refused(storage: Storage) -> None:
    for _ in range(5):
        new = await started(storage)
        calls = [join(storage, new.id), storage.append(turn(new.id), Change(takes_turn="answer"))]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(outcome, Fenced) for outcome in outcomes) == 1
        found = await storage.get(new.id)
        assert found is not None
        assert (found.assisting_admin_id is None) != (found.answer_id is None)


async def test_only_who_has_the_session_acts_in_it(storage: Storage) -> None:
    new = await started(storage)
    with pytest.raises(Fenced):
        await storage.append(staff(new.id), Change(by="bea"))
    await storage.append(entry(new.id), Change(by=AI))
    await join(storage, new.id)
    for other in ("cy", AI):
        with pytest.raises(Fenced):
            await storage.append(staff(new.id), Change(by=other))
    said = await storage.append(staff(new.id), Change(by="bea"))
    await storage.append(staff(new.id, kind=Kind.NOTE), Change())
    asked = await storage.append(entry(new.id, content="a word of the user"))
    assert (said.session.staff_messages, asked.session.staff_messages) == (1, 1)


async def test_the_same_id_again_is_no_second_takeover_and_is_not_fenced(storage: Storage) -> None:
    new = await started(storage)
    first = await join(storage, new.id, message_id="join")
    again = await join(storage, new.id, message_id="join")
    assert (again.fresh, again.entry, again.session) == (False, first.entry, first.session)


async def test_who_leaves_gives_the_session_back_and_the_ai_may_answer(storage: Storage) -> None:
    new = await started(storage)
    joined = (await join(storage, new.id)).session
    with pytest.raises(Fenced):
        await leave(storage, new.id, "cy")
    left = (await leave(storage, new.id)).session
    assert (left.assisting_admin_id, left.assisting_admin_name, left.assisted_since) == (None, None, None)
    assert (left.assisted_index, left.staff_messages, left.admin_assisted) == (0, 0, True)
    assert await listed(storage, assisted=True) == []
    taken = await storage.append(turn(new.id), Change(takes_turn="answer"), fence=left.fence)
    assert taken.session.fence == joined.fence + 1
    with pytest.raises(Fenced):
        await leave(storage, new.id)


async def test_who_has_the_session_hands_it_to_a_colleague(storage: Storage) -> None:
    new = await started(storage)
    joined = (await join(storage, new.id)).session
    handing = staff(new.id, kind=Kind.ADMIN_JOIN)
    with pytest.raises(Fenced):
        await storage.append(handing, joining("di", by="cy"))
    handed = (await storage.append(handing, joining("cy", by="bea"))).session
    assert (handed.assisting_admin_id, handed.fence) == ("cy", joined.fence + 1)
    with pytest.raises(Fenced):
        await storage.append(staff(new.id), Change(by="bea"))


async def test_a_refused_takeover_changes_nothing(storage: Storage) -> None:
    new = await started(storage)
    joined = (await join(storage, new.id)).session
    with pytest.raises(Fenced):
        await storage.append(staff(new.id), joining("cy", name="Other", help_state=Help.ASKED, tokens=3))
    with pytest.raises(Fenced):
        await storage.append(staff(new.id), Change(leaves=True, by="cy", name="Other"))
    assert await storage.get(new.id) == joined
    assert len(await storage.read(new.id)) == 2


async def test_who_waits_for_a_person_is_found_until_one_comes(storage: Storage) -> None:
    new, other = await started(storage), await started(storage, user_id="bob")
    for one in (new, other):
        asked = entry(one.id, kind=Kind.NOTIFICATION, timestamp=NOON + 3)
        await storage.append(asked, Change(help_state=Help.ASKED, by=AI))
    assert {one.id for one in await listed(storage, waiting=True)} == {new.id, other.id}
    assert [one.id for one in await listed(storage, waiting=True, user_id="bob")] == [other.id]
    told = entry(other.id, kind=Kind.NOTIFICATION, timestamp=NOON + 5)
    await storage.append(told, Change(help_state=Help.TOLD, by=AI))
    await join(storage, new.id)
    (waiting,) = await listed(storage, waiting=True)
    assert (waiting.id, waiting.help_state, waiting.help_since) == (other.id, Help.TOLD, NOON + 3)
    assert [one.id for one in await listed(storage, waiting=False)] == [new.id]
    await storage.append(entry(other.id, kind=Kind.NOTIFICATION), Change(help_state=Help.NONE))
    assert await listed(storage, waiting=True) == []


# -- takeovers that have ended ----------------------------------------------------------------------------------------


async def copied(cells: CellStorage, session_id: str) -> Copy:
    (copy,) = [copy for copy in await cells.copies("", 100) if copy.session.id == session_id]
    return copy


@pytest.fixture
async def assisted(cells: CellStorage) -> tuple[CellStorage, Session]:
    """A session that was handed from one member of staff to another, given back, and taken again."""
    new = await started(cells)
    await join(cells, new.id)
    for _ in range(2):
        await cells.append(staff(new.id), Change(by="bea"))
    await cells.append(staff(new.id, kind=Kind.ADMIN_JOIN, timestamp=NOON + 20), joining("cy", by="bea"))
    await cells.append(staff(new.id), Change(by="cy"))
    await leave(cells, new.id, "cy", timestamp=NOON + 30, message_id="leave")
    return cells, (await join(cells, new.id, "di", timestamp=NOON + 40)).session


async def test_every_takeover_that_ended_is_kept_with_who_when_and_how_much(
    assisted: tuple[CellStorage, Session],
) -> None:
    cells, session = assisted
    of = {"session_id": session.id, "user_id": "ada"}
    bea = Takeover(**of, admin_id="bea", start=NOON + 10, end=NOON + 20, index=2, messages=2)
    cy = Takeover(**of, admin_id="cy", start=NOON + 20, end=NOON + 30, index=5, messages=1)
    assert (await copied(cells, session.id)).takeovers == (bea, cy)
    await leave(cells, session.id, "cy", message_id="leave")
    assert (await copied(cells, session.id)).takeovers == (bea, cy)
    await leave(cells, session.id, "di", timestamp=NOON + 50)
    *_, last = (await copied(cells, session.id)).takeovers
    assert (last.admin_id, last.start, last.end, last.messages) == ("di", NOON + 40, NOON + 50, 0)


async def test_takeovers_go_with_their_session(assisted: tuple[CellStorage, Session]) -> None:
    cells, session = assisted
    other = await started(cells, user_id="bob")
    await join(cells, other.id)
    await leave(cells, other.id)
    await cells.delete(session.id)
    with pytest.raises(NotFound):
        await leave(cells, session.id, "di")
    assert len((await copied(cells, other.id)).takeovers) == 1
    await cells.delete(other.id)
    for one in (other, session):
        await cells.create(one)
        assert (await copied(cells, one.id)).takeovers == ()


async def test_no_name_of_staff_is_in_a_takeover(assisted: tuple[CellStorage, Session]) -> None:
    cells, session = assisted
    assert "Bea" not in str((await copied(cells, session.id)).takeovers)
