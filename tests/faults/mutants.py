"""Servers with a defect on purpose: a campaign that finds nothing has to be able to find these.

``python -m tests.faults.mutants NAME serve …`` is ``chatbox serve …`` with that defect.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from msgspec.structs import replace

from chatbox import turn
from chatbox.backplane.base import Grant
from chatbox.backplane.redis import RedisBackplane
from chatbox.cli import main
from chatbox.hub import Hub
from chatbox.outbox import Outbox
from chatbox.reply import Reply
from chatbox.room import Room
from chatbox.session import Kind, new_id
from chatbox.settlement import Settlement
from chatbox.storage import base
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.sqlite.groupcommit import GroupCommit

SELDOM, SOMETIMES = 0.02, 0.2


class Mutant(NamedTuple):
    """``plant`` changes this process; ``step`` shows it, by problems that begin with one of ``kinds``."""

    plant: Callable[[], None]
    step: str
    kinds: tuple[str, ...]


def acknowledge_before_the_commit() -> None:
    def transaction(self: Any, batch: list[Any]) -> list[Any]:
        self._roll_back()
        self._db.execute("BEGIN IMMEDIATE")
        outcomes = [self._attempt(job) for job in batch]
        self._loop.call_soon_threadsafe(self._settle, outcomes)
        time.sleep(0.1)
        self._db.execute("COMMIT")
        return []

    GroupCommit._transaction = transaction


def take_a_failed_flush_for_done() -> None:
    def transaction(self: Any, batch: list[Any]) -> list[Any]:
        self._roll_back()
        self._db.execute("BEGIN IMMEDIATE")
        outcomes = [self._attempt(job) for job in batch]
        with suppress(sqlite3.Error):
            self._db.execute("COMMIT")
        return outcomes

    GroupCommit._transaction = transaction


def send_twice() -> None:
    put = Outbox.put

    def put_twice(self: Any, *given: Any) -> None:
        put(self, *given)
        if random.random() < SOMETIMES:
            put(self, *given)

    Outbox.put = put_twice


def send_some_pieces_to_nobody() -> None:
    put = Outbox.put_piece

    def put_most(self: Any, *given: Any) -> None:
        if random.random() > SELDOM:
            put(self, *given)

    Outbox.put_piece = put_most


def store_a_resend_again() -> None:
    append = EncryptedStorage.append

    async def forgetful(self: Any, entry: Any, change: Any = None, *, fence: int | None = None) -> Any:
        stored = await append(self, entry, change, fence=fence)
        if stored.fresh or entry.kind is not Kind.USER_MESSAGE:
            return stored
        return await append(self, replace(entry, message_id=new_id()), change, fence=fence)

    EncryptedStorage.append = forgetful


def store_answers_tidied() -> None:
    append = EncryptedStorage.append

    async def tidy(self: Any, entry: Any, change: Any = None, *, fence: int | None = None) -> Any:
        return await append(self, replace(entry, content=entry.content.rstrip()), change, fence=fence)

    EncryptedStorage.append = tidy


def resume_too_late() -> None:
    read = Hub._entries

    async def later(self: Any, room: Any, after: int) -> Any:
        return (await read(self, room, after))[1:]

    Hub._entries = later


def answer_twice() -> None:
    owed, rest = turn.owed, Reply.rest

    def owed_again(entries: Any) -> bool:
        answered = bool(entries) and entries[-1].kind is Kind.AI_RESPONSE
        return owed(entries) or (answered and random.random() < SOMETIMES)

    def look_again(self: Any) -> None:
        rest(self)
        self.woken = True

    turn.owed, Reply.rest = owed_again, look_again


def answer_without_asking_the_others() -> None:
    acquire, append = RedisBackplane.acquire, EncryptedStorage.append

    async def acquire_anyway(self: Any, session_id: str, answer_id: str) -> Any:
        return await acquire(self, session_id, answer_id) or Grant.SURE

    async def unseen(self: Any, entry: Any, change: Any = None, *, fence: int | None = None) -> Any:
        return await append(self, entry, change, fence=None if change and change.takes_turn else fence)

    RedisBackplane.acquire, EncryptedStorage.append = acquire_anyway, unseen


def overlook_what_is_missing() -> None:
    Room._miss = lambda self, event: None
    Room._look = lambda self: None


def leave_dead_turns_open() -> None:
    async def nothing(*given: Any) -> None:
        return None

    Settlement.settle = Settlement.close = nothing


def let_staff_join_during_answers() -> None:
    admit_owner = base.admit_owner

    def admit_anyone(session: Any, change: Any) -> None:
        admit_owner(replace(session, answer_id=None), change)

    base.admit_owner = admit_anyone


MUTANTS = {
    plant.__name__: Mutant(plant, step, kinds)
    for plant, step, kinds in (
        (acknowledge_before_the_commit, "kills", ("lost",)),
        (take_a_failed_flush_for_done, "flush_errors", ("lost", "acknowledged in vain")),
        (send_twice, "cuts", ("gap", "two ends")),
        (send_some_pieces_to_nobody, "cuts", ("gap",)),
        (store_a_resend_again, "cuts", ("stored twice", "invented")),
        (store_answers_tidied, "cuts", ("wrong answer",)),
        (resume_too_late, "cuts", ("gap", "not told")),
        (answer_twice, "cuts", ("second answer", "model asked twice")),
        (answer_without_asking_the_others, "messages_lost", ("second answer", "model asked twice", "wrong end")),
        (overlook_what_is_missing, "messages_lost", ("not told", "gap", "broke off")),
        (leave_dead_turns_open, "answers_taken_over", ("broke off", "told too late")),
        (let_staff_join_during_answers, "staff_come_and_go", ("the AI during a takeover",)),
    )
}

if __name__ == "__main__":
    MUTANTS[sys.argv.pop(1)].plant()
    main()
