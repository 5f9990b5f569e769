"""Defects planted on purpose, one at a time: those that the scenarios have to find, each by the promise that it breaks.

The last few are defects that the scenarios have found.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from typing import NamedTuple
from unittest.mock import patch

import detangle
from msgspec.structs import replace

from chatbox import commits, protocol, takeovers, turn
from chatbox.backplane.base import Behind, Stored
from chatbox.backplane.memory import MemoryBackplane
from chatbox.chat import Chat
from chatbox.commits import Commits
from chatbox.connection import Connection
from chatbox.entries import staff_entry, system_entry
from chatbox.housekeeping import Housekeeping
from chatbox.hub import Hub
from chatbox.reply import Replies, Reply
from chatbox.room import Listener, Room
from chatbox.session import STAFF_VISIBLE, STEP, Change, Finish, Kind
from chatbox.sessions import Sessions, _own_id
from chatbox.settlement import Settlement
from chatbox.storage import base, memory
from chatbox.storage.memory import Log, MemoryStorage
from chatbox.takeovers import Takeovers


class Mutant(NamedTuple):
    """What is planted, where it is looked for, and what has to be said of it. A ``rare`` one shows itself in less than
    one of a hundred schedules."""

    defects: tuple
    scenario: str
    complaint: str
    rare: bool = False

    @contextmanager
    def planted(self):
        with ExitStack() as stack:
            for owner, name, defect in self.defects:
                stack.enter_context(patch.object(owner, name, defect))
            yield


shipped_commit, shipped_stop, shipped_append = Commits.commit, Chat._stop, MemoryStorage.append
shipped_heed, shipped_receive, shipped_finish = Reply.heed, Room.receive, MemoryBackplane.finish
shipped_end = Reply.end
shipped_owner, shipped_apply, shipped_settles = base.admit_owner, memory.apply, turn.settles


# -- what is told, and when --------------------------------------------------------------------------------------------


async def ack_first(self, listener, entry, change, fence=None):
    session = await self._storage.get(entry.session_id)
    position = (session.last_index + 1) * STEP
    listener.send(protocol.ack(session.id, entry.message_id, position, listener.position))
    return await shipped_commit(self, listener, entry, change, fence)


async def publish_first(self, listener, entry, change, fence=None):
    session = await self._storage.get(entry.session_id)
    listener.sending.add(entry.message_id)
    await self._backplane.publish(session.id, Stored(replace(entry, index=session.last_index + 1)))
    return await self._storage.append(entry, change, fence=fence)


async def join_late(self, session, listener, at, greet):
    room = await self.open(session.id)
    replay, missed = await self._replay(room, session, at)
    await asyncio.sleep(detangle.uniform(0, 0.05))
    listener.send(greet(session, replay))
    room.join(listener, replay.seq, missed)


def pass_pieces_as_they_come(self, piece):
    if piece.seq > self.position and (answer := self._answer_of(piece)):
        self._pass_piece(answer, piece)


def pass_entries_as_they_come(self, event):
    if event.entry.index > self.index:
        self._pass_entry(event.entry)


def never_behind(self, event):
    if not isinstance(event, Behind):
        shipped_receive(self, event)


def leave_with_the_tab(self, listener):
    for one in list(self.listeners.values()):
        if one.client == listener.client:
            del self.listeners[one.id]
    return True


async def delete_quietly(self, session):
    await self._replies.halt(session.id)
    await self._storage.delete(session.id)
    await self._hub.forget(session.id)


# -- one message, one session, one turn --------------------------------------------------------------------------------


async def store_again(self, entry, change=None, *, fence=None):
    if entry.message_id in self._log(entry.session_id).places:
        entry = replace(entry, message_id=f"{entry.message_id}-again")
    return await shipped_append(self, entry, change, fence=fence)


async def create_another(self, session):
    self._logs[session.id] = Log(session)
    return session


def admit_anyone(session, change, fence):
    """No turn is refused, and no late writer."""


async def push_without_the_lease(self, session_id, answer_id, text):
    if answer := self._bus.answers.get(session_id):
        self._tell(session_id, answer.add(text))


async def keep_the_lease(self, session_id, answer_id, *, stored=True):
    lease = self._bus.leases.get(session_id)
    await shipped_finish(self, session_id, answer_id, stored=stored)
    if lease and stored:
        self._bus.leases[session_id] = lease


# -- who ends what, and who hears of it --------------------------------------------------------------------------------


async def settle_without_the_lease(self, session_id, answer_id):
    session = await self._storage.get(session_id)
    return await self._end(session, answer_id) if session.answer_id == answer_id else session


async def watch_nothing(self):
    await asyncio.Event().wait()


async def settle_and_go(self, room):
    if room.owing.open_answer:
        await self._replies.settle_answer(room.session_id, room.owing.open_answer)


def deaf_to_stops(self, entry):
    if entry.kind is not Kind.STOP:
        shipped_heed(self, entry)


async def stop_here_only(self, caller, command):
    await shipped_stop(self, caller, command)
    if reply := self._replies._running.get(caller.session_id):
        reply.end(Finish.STOPPED, command.target)


def stop_what_was_asked_for(self, entry):
    shipped_heed(self, entry)
    if entry.kind is Kind.REGENERATE:
        self.end(Finish.STOPPED)


# -- whose the session is ----------------------------------------------------------------------------------------------


def join_during_answers(session, change):
    shipped_owner(replace(session, answer_id=None), change)


def turns_while_staff_are_there(session, change):
    shipped_owner(session, replace(change, takes_turn=None))


def join_under_the_old_fence(session, entry, change):
    after = shipped_apply(session, entry, change)
    return replace(after, fence=session.fence) if change.joins else after


async def wait_for_the_end(self, session_id, how=turn.HALT, patience=0.0):
    await asyncio.sleep(0.1)
    return await self._storage.get(session_id)


async def say_as_anyone(self, staff, session_id, message_id, content, listener=None):
    entry = staff_entry(staff.staff, session_id, Kind.USER_MESSAGE, message_id, content)
    return (await self._commits.commit(listener, entry, Change())).session


def settled_by_leaving(entry):
    return shipped_settles(entry) or entry.kind is Kind.ADMIN_LEAVE


async def hand_on_over_the_ai(self, staff, to, session_id, message_id, listener=None):
    await self.leave(staff, session_id, f"{message_id}-from")
    entry = staff_entry(to, session_id, Kind.ADMIN_JOIN, message_id)
    return (await self._commits.commit(listener, entry, Change(joins=to.id, admin_name=to.name))).session


async def hand_on_what_is_not_ones_own(self, staff, to, session_id, message_id, listener=None):
    session = await self._session(session_id)
    entry = staff_entry(to, session_id, Kind.ADMIN_JOIN, message_id, from_id=staff.user_id)
    change = Change(joins=to.id, admin_name=to.name, by=session.assisting_admin_id or "")
    return (await self._commits.commit(listener, entry, change)).session


# -- defects that were found -------------------------------------------------------------------------------------------


async def end_what_staff_have(self, session):
    await self._replies.halt(session.id)
    if session.assisting_admin_id:
        await self._end_takeover(session)
    note = system_entry(session.id, Kind.NOTIFICATION, _own_id(turn.ENDED, session.opened_at), {"event": turn.ENDED})
    return (await self._append(note, Change(active=False))).session


def the_same_by_anyone(entry):
    return entry.kind, entry.content


def end_only_what_is_there(self, finish, target=None):
    if self.draft or not target:
        shipped_end(self, finish, target)


def begin_whatever_is_new(self, turn):
    return self.answer is None or self.answer.turn.answer_id != turn.answer_id


async def close_by_a_lease_of_the_past(self, session_id, mine):
    session = await self._storage.get(session_id)
    if session.answer_id:
        await self._end(session, session.answer_id)


async def catch_up_once(self, room):
    entries = await self._after(room, room.index)
    known = entries[-1].index if entries else room.index
    room.merge(entries, await self._backplane.running(room.session_id, known))


async def mend_once(self, room):
    await self._catch_up(room)


def hint_at_once(self, event, **metadata):
    self.send(protocol.notice(self.session_id, event, **metadata))


MUTANTS = {
    "acknowledged before the commit": Mutant(
        ((Commits, "commit", ack_first),), "a_message_is_sent_twice", "told before it was stored|has .*, the log"
    ),
    "published before the commit": Mutant(
        ((Commits, "commit", publish_first),), "sockets_attach_at_once", "told before it was stored"
    ),
    "a snapshot that does not meet the live events": Mutant(
        ((Hub, "attach", join_late),), "sockets_attach_at_once", "has .*, the log|waits for"
    ),
    "gaps between pieces are ignored": Mutant(
        ((Room, "_piece", pass_pieces_as_they_come),), "lines_are_cut_during_an_answer", "saw .*, which is"
    ),
    "gaps between entries are ignored": Mutant(
        ((Room, "_stored", pass_entries_as_they_come),), "messages_through_both_replicas", "has .*, the log"
    ),
    "what the bus has lost is never looked for": Mutant(
        ((Room, "receive", never_behind),), "messages_through_both_replicas", "has .*, the log|waits for"
    ),
    "a socket's clean-up takes the tab's new socket along": Mutant(
        ((Room, "leave", leave_with_the_tab),), "an_old_cleanup_after_a_new_attach", "has .*, the log|waits for"
    ),
    "a deletion that nobody is told of": Mutant(
        ((Sessions, "delete", delete_quietly),), "a_deletion_through_the_other_replica", "closed"
    ),
    "a message sent again is another message": Mutant(
        ((MemoryStorage, "append", store_again),), "a_message_is_sent_twice", "twice|said-"
    ),
    "every creation makes a session": Mutant(
        ((MemoryStorage, "create", create_another),), "sessions_are_created_at_once", "one session"
    ),
    "the store refuses nobody's turn": Mutant(
        ((memory, "admit", admit_anyone),), "a_replica_stands_still", "while .* was open|the open answer was"
    ),
    "pieces are taken without the lease": Mutant(
        ((MemoryBackplane, "push", push_without_the_lease),),
        "a_replica_stands_still_with_a_lease",
        "saw .*, which is|after its end",
    ),
    "a lease is never given back": Mutant(
        ((MemoryBackplane, "finish", keep_the_lease),), "messages_through_both_replicas", "has no answer|the lease"
    ),
    "a living answer is ended by who attaches": Mutant(
        ((Settlement, "settle", settle_without_the_lease),), "sockets_attach_at_once", "interrupted|saw .*, which is"
    ),
    "nobody sees to a dead replica's answer": Mutant(
        ((Housekeeping, "watch", watch_nothing),), "a_replica_dies", "is open|has no answer"
    ),
    "nobody answers what a dead replica left": Mutant(
        ((Housekeeping, "_see_to", settle_and_go),), "a_replica_dies", "has no answer"
    ),
    "a stop is heard only where it came in": Mutant(
        ((Reply, "heed", deaf_to_stops), (Chat, "_stop", stop_here_only)),
        "a_stop_through_the_other_replica",
        "longer than a second",
    ),
    "regenerate stops the answer that it asked for": Mutant(
        ((Reply, "heed", stop_what_was_asked_for),), "regenerate_through_the_other_replica", "stopped"
    ),
    "news of a turn begin it after its end": Mutant(
        ((Room, "_begins", begin_whatever_is_new),),
        "regenerate_through_the_other_replica",
        "begins after its end|twice that",
    ),
    "a turn is closed by a lease of the past": Mutant(
        ((Settlement, "close", close_by_a_lease_of_the_past),),
        "a_replica_stands_still_with_a_lease",
        "saw .*, which is",
    ),
    "an answer that ended during a look is looked at once": Mutant(
        ((Hub, "_catch_up", catch_up_once),),
        "regenerate_through_the_other_replica",
        "saw .*, which is",
        rare=True,
    ),
    "a room that failed to catch up stays deaf": Mutant(
        ((Hub, "_mend", mend_once),), "a_task_fails", "waits for|has .*, the log"
    ),
    "staff join during an answer": Mutant(
        ((base, "admit_owner", join_during_answers),), "a_takeover_during_an_answer", "joined while .* was open"
    ),
    "a turn is taken while staff have the session": Mutant(
        ((base, "admit_owner", turns_while_staff_are_there), (memory, "apply", join_under_the_old_fence)),
        "a_takeover_while_a_turn_stands_still",
        "while bea had the session|what staff have answered",
    ),
    "a join does not raise the fence": Mutant(
        ((memory, "apply", join_under_the_old_fence),),
        "a_takeover_while_a_turn_stands_still",
        "what staff have answered",
    ),
    "a takeover waits for the answer's end": Mutant(
        ((Replies, "halt", wait_for_the_end),), "a_takeover_is_quick", "longer than a second"
    ),
    "staff speak in sessions that they do not have": Mutant(
        ((Takeovers, "say", say_as_anyone),), "a_takeover_is_released", "words of bea while"
    ),
    "pieces are taken after a takeover": Mutant(
        ((MemoryBackplane, "push", push_without_the_lease),),
        "a_takeover_of_an_answer_that_stands_still",
        "saw .*, which is|after its end",
        rare=True,
    ),
    "a hand-back forgets what nobody answered": Mutant(
        ((turn, "settles", settled_by_leaving),), "a_takeover_during_an_answer", "was passed over"
    ),
    "a session is handed on over the AI": Mutant(
        ((Takeovers, "transfer", hand_on_over_the_ai),),
        "a_takeover_is_handed_on",
        "the AI was between|joined while|two have the session",
    ),
    "who has lost the session hands it on": Mutant(
        ((Takeovers, "transfer", hand_on_what_is_not_ones_own),), "a_takeover_is_released", "joined while"
    ),
    "what staff note is shown": Mutant(((Listener, "sees", STAFF_VISIBLE),), "a_takeover_is_quick", "told a note"),
    "a takeover that stops an answer elsewhere takes questions back": Mutant(
        ((takeovers, "PAUSE", turn.HALT),), "a_takeover_during_an_answer", "was passed over"
    ),
    "a session ends while staff join": Mutant(
        ((Sessions, "close", end_what_staff_have),), "an_end_during_a_takeover", "ended while bea had it"
    ),
    "of two who do something under one id, both have done it": Mutant(
        ((commits, "_said", the_same_by_anyone),), "takeovers_by_two_at_once", "which .* did|not one owner"
    ),
    "a stop misses the turn that is being taken": Mutant(
        ((Reply, "end", end_only_what_is_there),),
        "a_takeover_between_question_and_answer",
        "the answer did not stop",
        rare=True,
    ),
    "a draining replica hints before the first frame": Mutant(
        ((Connection, "hint", hint_at_once),), "every_replica_restarts", "first got"
    ),
}
