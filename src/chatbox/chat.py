"""What each command means.

Every change is an entry of the session's log: first it is committed, then told (the sender's socket gets the ack in the
entry's place), then it has its effect. A repeated ``message_id`` is the same command: it is acknowledged again and does
nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import assert_never

import msgspec

from chatbox import protocol
from chatbox.allowance import Allowance
from chatbox.backplane.base import Backplane, Joined, Quotas, Signal
from chatbox.commits import Commits, acknowledge_nothing
from chatbox.entries import system_entry
from chatbox.errors import Conflict, Fenced, NotFound, TooMany
from chatbox.hub import Hub, Position, Refused, Replay
from chatbox.protocol import (
    AskHelp,
    CancelHelp,
    Command,
    Inbound,
    Model,
    Regenerate,
    Say,
    SelectModel,
    SendFile,
    Stop,
    Typing,
)
from chatbox.reply import Replies
from chatbox.room import Listener
from chatbox.session import Change, Entry, Help, Kind, Principal, Sender, Session, name_from, now_ms
from chatbox.sessions import LISTENERS, Sessions
from chatbox.storage.base import AI, Storage
from chatbox.tasks import Tasks
from chatbox.turn import asks

RECENT = 500
END = 1 << 40
EMAIL = "help_email"
"""Under this name a session's context holds the address that its user has left for an answer: their own words, apart
from what the surrounding application vouches for."""


class Asked(msgspec.Struct, frozen=True):
    """What a socket asks for when it connects."""

    session_id: str = ""
    at: Position | None = None


class Caller(msgspec.Struct, frozen=True):
    """Who speaks, in which session, and through which socket."""

    principal: Principal
    session_id: str
    listener: Listener

    @property
    def user_id(self) -> str:
        return self.principal.user_id


class Chat:
    """The commands of users. ``models`` are what they can choose from, the default first."""

    def __init__(
        self,
        storage: Storage,
        backplane: Backplane,
        quotas: Quotas,
        hub: Hub,
        replies: Replies,
        sessions: Sessions,
        allowance: Allowance,
        commits: Commits,
        tasks: Tasks,
        *,
        models: tuple[Model, ...],
    ) -> None:
        self._storage = storage
        self._backplane = backplane
        self._quotas = quotas
        self._hub = hub
        self._replies = replies
        self._sessions = sessions
        self._allowance = allowance
        self._commits = commits
        self._tasks = tasks
        self._models = models

    async def attach(self, principal: Principal, listener: Listener, asked: Asked) -> Session:
        """Choose the socket's session and send it its first frame, what it missed, and all that comes.

        An unfinished answer of a process that died is closed, and what it left unanswered is answered now. An older
        socket of the same tab is closed. Raises ``StorageError``.
        """
        listener.joined = time.time_ns()
        try:
            session = await self._attach(principal, listener, asked)
        except NotFound:  # deleted in this very moment: choose as if it had never been
            session = await self._attach(principal, listener, asked)
        if listener.client:
            await self._backplane.publish(session.id, Joined(listener.client, listener.joined))
        return session

    async def leave(self, listener: Listener) -> None:
        """The socket is gone. Its answer goes on."""
        self._hub.leave(listener.session_id, listener)
        await self._quotas.leave(LISTENERS, listener.session_id, listener.id)

    async def _attach(self, principal: Principal, listener: Listener, asked: Asked) -> Session:
        session = await self._sessions.choose(principal, asked.session_id)
        session = await self._replies.settle(session)
        await self._quotas.enter(LISTENERS, session.id, listener.id)
        fresh = self._hub.room(session.id) is None
        at: Position | Refused | None = asked.at
        if asked.at and session.id != asked.session_id:
            at = "unknown"
        try:
            await self._hub.attach(session, listener, at, self._greeting)
        except BaseException:
            await self._quotas.leave(LISTENERS, session.id, listener.id)
            raise
        if fresh:
            await self._replies.look(session)
        return session

    def _greeting(self, session: Session, replay: Replay) -> protocol.Frame:
        known = {
            "reason": replay.reason,
            "model_id": session.model_id,
            "admin_id": session.assisting_admin_id,
            "admin_name": session.assisting_admin_name,
            EMAIL: session.context.get(EMAIL),
        }
        metadata = {"resumed": "true" if replay.resumed else "false", "help_state": str(session.help_state)}
        metadata |= {key: value for key, value in known.items() if value}
        return protocol.connection_status(
            session_id=session.id,
            user_id=session.user_id,
            models=self._models,
            epoch=session.epoch,
            seq=replay.seq,
            metadata=metadata,
        )

    async def handle(self, caller: Caller, command: Inbound) -> None:
        """Carry out a command. Raises ``Refusal`` when nothing was done, ``StorageError``.

        What changes the session is carried out to its end, even if the socket's reader is cancelled meanwhile.
        """
        await self._check_session(caller, command)
        match command:
            case Typing():
                frame = protocol.typing_indicator(caller.session_id, Sender.USER)
                await self._backplane.publish(caller.session_id, Signal(str(frame), but=caller.listener.id))
            case protocol.Ping():
                caller.listener.send(protocol.pong(command.message_id))
            case protocol.Authenticate():
                raise Conflict("The socket renews its own token.")
            case _:
                await asyncio.shield(self._tasks.start(self._change(caller, command), "command"))

    async def _check_session(self, caller: Caller, command: Command) -> None:
        """A socket belongs to one session; naming another of one's own is a mistake, an unknown id is nothing."""
        if command.session_id in ("", caller.session_id):
            return
        other = await self._storage.get(command.session_id)
        if other and other.user_id == caller.user_id:
            raise Conflict("This socket belongs to another session.")

    async def _change(
        self, caller: Caller, command: Say | Stop | Regenerate | SelectModel | AskHelp | CancelHelp | SendFile
    ) -> None:
        match command:
            case Say():
                await self._say(caller, command)
            case Stop():
                await self._stop(caller, command)
            case Regenerate():
                await self._regenerate(caller, command)
            case SelectModel():
                await self._select_model(caller, command)
            case AskHelp() | CancelHelp():
                await self._help(caller, command)
            case SendFile():
                raise NotFound("The file does not exist.")
            case _:
                assert_never(command)

    async def _say(self, caller: Caller, command: Say) -> None:
        self._check_model(command.model_id)
        entry = Entry(
            session_id=caller.session_id,
            kind=Kind.USER_MESSAGE,
            message_id=command.message_id,
            sender=Sender.USER,
            content=command.content,
            timestamp=now_ms(),
            model_id=command.model_id,
            metadata=command.metadata,
        )
        room = self._hub.room(caller.session_id)
        first_name = None if room and room.named else name_from(command.content)
        await self._ask(caller, entry, Change(first_name=first_name, active=True, model_id=command.model_id))

    async def _regenerate(self, caller: Caller, command: Regenerate) -> None:
        entries = await self._storage.read(caller.session_id, before=END, limit=RECENT)
        if not any(asks(entry) for entry in entries):
            raise Conflict("There is no message to answer again.")
        entry = system_entry(caller.session_id, Kind.REGENERATE, command.message_id, {})
        try:
            await self._ask(caller, entry, Change(active=True, by=AI))
        except Fenced:
            raise Conflict("A member of staff has this conversation now.") from None

    async def _ask(self, caller: Caller, entry: Entry, change: Change) -> None:
        """Store what wants an answer, and see that it comes: from the AI, unless staff have the session."""
        try:
            async with self._answer(caller):
                await self._allowance.frame(caller.user_id)
                stored = await self._commits.commit(caller.listener, entry, change)
                if stored.fresh and stored.session.assisting_admin_id is None:
                    self._replies.wake(stored.session)
        except TooMany:
            if not await self._commits.repeated(caller.listener, entry):
                raise

    @asynccontextmanager
    async def _answer(self, caller: Caller) -> AsyncIterator[None]:
        """What an answer needs, if the AI gives it. Raises ``TooMany``."""
        room = self._hub.room(caller.session_id)
        if room and room.owing.assisted:
            yield
            return
        await self._allowance.tokens(caller.user_id)
        async with self._allowance.answer(caller.user_id, caller.session_id):
            yield

    async def _stop(self, caller: Caller, command: Stop) -> None:
        running = self._running(caller.session_id)
        if running is None or command.target not in (None, running):
            acknowledge_nothing(caller.listener, caller.session_id, command.message_id)
            return
        entry = system_entry(caller.session_id, Kind.STOP, command.message_id, {"target": running})
        await self._commits.commit(caller.listener, entry, Change())

    def _running(self, session_id: str) -> str | None:
        """The running answer, whichever replica writes it; "" while its turn is being taken here."""
        here, room = self._replies.running(session_id), self._hub.room(session_id)
        elsewhere = room.answer.turn.answer_id if room and room.answer else None
        return here or elsewhere or here

    async def _select_model(self, caller: Caller, command: SelectModel) -> None:
        self._check_model(command.model_id)
        metadata = {"event": "model_changed", "model_id": command.model_id}
        entry = system_entry(caller.session_id, Kind.NOTIFICATION, command.message_id, metadata)
        await self._commits.commit(caller.listener, entry, Change(model_id=command.model_id))

    async def _help(self, caller: Caller, command: AskHelp | CancelHelp) -> None:
        """Ask for a person, or take that back. What changes nothing is acknowledged and not stored."""
        entry = help_entry(caller.session_id, command)
        change = help_change(await self._sessions.own(caller.principal, caller.session_id), command)
        if change is None:
            if not await self._commits.repeated(caller.listener, entry):
                acknowledge_nothing(caller.listener, caller.session_id, command.message_id)
            return
        await self._allowance.frame(caller.user_id)
        try:
            await self._commits.commit(caller.listener, entry, change)
        except Fenced:  # staff have come meanwhile
            await self._help(caller, command)

    def _check_model(self, model_id: str | None) -> None:
        if model_id is not None and all(model.id != model_id for model in self._models):
            raise NotFound("The model does not exist.")


def help_entry(session_id: str, command: AskHelp | CancelHelp) -> Entry:
    """The entry of a call for help, or of its end."""
    state = Help.ASKED if isinstance(command, AskHelp) else Help.NONE
    entry = system_entry(
        session_id, Kind.NOTIFICATION, command.message_id, {"event": "help_state", "state": str(state)}
    )
    if isinstance(command, CancelHelp):
        return entry
    address = {"email": command.email} if command.email else {}
    return msgspec.structs.replace(entry, content=command.content, metadata=entry.metadata | address)


def help_change(session: Session, command: AskHelp | CancelHelp) -> Change | None:
    """What a call for help, or its end, changes; None: nothing. To ask again tells only a new address, and so does to
    ask while a person is there."""
    assisted, waiting = session.assisting_admin_id is not None, session.help_state is not Help.NONE
    if isinstance(command, CancelHelp):
        return Change(help_state=Help.NONE, active=True, by=AI) if waiting and not assisted else None
    moved = command.email not in ("", session.context.get(EMAIL))
    context = session.context | {EMAIL: command.email} if moved else None
    if assisted:
        return Change(active=True, context=context) if moved else None
    return Change(help_state=Help.ASKED, active=True, context=context, by=AI) if moved or not waiting else None
