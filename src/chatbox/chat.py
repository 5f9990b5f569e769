"""What each command means.

Every change is an entry of the session's log: first it is committed, then told (the sender's socket gets the ack in the
entry's place), then it has its effect. A repeated ``message_id`` is the same command: it is acknowledged again and does
nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import assert_never
from weakref import WeakValueDictionary

import msgspec

from chatbox import protocol
from chatbox.backplane.base import Backplane, Removed, Signal, Stored
from chatbox.errors import Conflict, Fenced, NotFound, TooMany, Unavailable
from chatbox.hub import Hub, Listener, Position, Refused, Replay
from chatbox.metrics import Metrics
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
from chatbox.reply import Replies, turn_entry
from chatbox.session import (
    Change,
    Entry,
    Finish,
    Help,
    Kind,
    Principal,
    Sender,
    Session,
    name_from,
    new_id,
    now_ms,
)
from chatbox.storage.base import Appended, SessionQuery, Storage

NEW = "new"
"""The session id that asks for a session of its own."""

FRAMES = "frames"
"""The limit on stored frames a user."""

RECENT = 100


class ChatSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``reconnect_timeout`` in s; ``token_budget`` in tokens a UTC day, 0 is off."""

    models: tuple[Model, ...]
    reconnect_timeout: float
    max_answers: int
    token_budget: int = 0


class Asked(msgspec.Struct, frozen=True):
    """What a socket asks for when it connects."""

    session_id: str = ""
    at: Position | None = None


class Caller(msgspec.Struct, frozen=True):
    """Who speaks, in which session, and through which socket."""

    principal: Principal
    session_id: str
    listener: Listener


class Chat:
    """The commands of users. Authorisation is by lookup: a stranger's session does not exist."""

    def __init__(
        self,
        storage: Storage,
        backplane: Backplane,
        hub: Hub,
        replies: Replies,
        settings: ChatSettings,
        metrics: Metrics,
    ) -> None:
        self._storage = storage
        self._backplane = backplane
        self._hub = hub
        self._replies = replies
        self._settings = settings
        self._metrics = metrics
        self._choosing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def own(self, principal: Principal, session_id: str) -> Session:
        """The session, if it is this user's. Raises ``NotFound``."""
        session = await self._storage.get(session_id)
        if session is None or session.user_id != principal.user_id:
            raise NotFound("The session does not exist.")
        return session

    # -- attaching -----------------------------------------------------------------------------------------------------

    async def attach(self, principal: Principal, listener: Listener, asked: Asked) -> Session:
        """Choose the socket's session and send it its first frame, what it missed, and all that comes."""
        lock = self._choosing.setdefault(principal.user_id, asyncio.Lock())
        async with lock:
            session = await self._choose(principal, asked.session_id)
        fresh = self._hub.room(session.id) is None
        session = await self._replies.settle(session)
        at: Position | Refused | None = asked.at
        if asked.at and session.id != asked.session_id:
            at = "unknown"
        await self._hub.attach(session, listener, at, lambda replay: self._greeting(session, replay))
        if fresh and session.last_index:
            await self._answer_unanswered(session)
        return session

    async def _choose(self, principal: Principal, wanted: str) -> Session:
        if wanted and wanted != NEW:
            named = await self._storage.get(wanted)
            if named and named.user_id == principal.user_id:
                return named
        if wanted != NEW and (active := await self._active(principal)):
            return active
        empty = await self._storage.find(SessionQuery(user_id=principal.user_id, empty=True, limit=1))
        return empty[0] if empty else await self._create(principal)

    async def _active(self, principal: Principal) -> Session | None:
        for session in await self._storage.find(SessionQuery(user_id=principal.user_id, active=True, limit=1)):
            if not self.abandoned(session):
                return session
            await self.close(session)
        return None

    def abandoned(self, session: Session) -> bool:
        """Whether nobody has been connected to the session for ``RECONNECT_TIMEOUT``."""
        room = self._hub.room(session.id)
        if (room and room.listeners) or self._replies.running(session.id):
            return False
        away = time.monotonic() - room.left_at if room else (now_ms() - session.last_activity) / 1000
        return away >= self._settings.reconnect_timeout

    async def _create(self, principal: Principal) -> Session:
        now = now_ms()
        session = Session(
            id=new_id(),
            user_id=principal.user_id,
            user_name=principal.name,
            epoch=new_id(),
            start_time=now,
            last_activity=now,
            context=principal.context,
        )
        await self._storage.create(session)
        self._metrics.sessions_created_total.inc()
        return session

    def _greeting(self, session: Session, replay: Replay) -> protocol.Frame:
        metadata = {"resumed": "true" if replay.resumed else "false", "help_state": str(session.help_state)}
        if replay.reason:
            metadata["reason"] = replay.reason
        if session.model_id:
            metadata["model_id"] = session.model_id
        return protocol.connection_status(
            session_id=session.id,
            user_id=session.user_id,
            models=self._settings.models,
            epoch=session.epoch,
            seq=replay.seq,
            metadata=metadata,
        )

    async def _answer_unanswered(self, session: Session) -> None:
        """A message whose process died before its turn began is answered now."""
        entries = await self._storage.read(session.id, before=session.last_index + RECENT, limit=RECENT)
        newest = next(
            (e for e in reversed(entries) if e.kind in (Kind.USER_MESSAGE, Kind.TURN, Kind.AI_RESPONSE)), None
        )
        if newest and newest.kind is Kind.USER_MESSAGE and newest.sender is Sender.USER:
            self._replies.wake(session, newest.index)

    # -- commands of a socket ------------------------------------------------------------------------------------------

    async def handle(self, caller: Caller, command: Inbound) -> None:
        """Carry out a command. Raises ``Refusal`` when nothing was done, ``StorageError``."""
        await self._check_session(caller, command)
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
            case Typing():
                frame = protocol.typing_indicator(caller.session_id, Sender.USER)
                await self._backplane.publish(caller.session_id, Signal(frame, but=caller.listener.id))
            case protocol.Ping():
                caller.listener.send(protocol.pong(command.message_id))
            case protocol.Authenticate():
                raise Conflict("The socket renews its own token.")
            case _:
                assert_never(command)

    async def _check_session(self, caller: Caller, command: Command) -> None:
        """A socket belongs to one session; naming another of one's own is a mistake, an unknown id is nothing."""
        if command.session_id in ("", caller.session_id):
            return
        other = await self._storage.get(command.session_id)
        if other and other.user_id == caller.principal.user_id:
            raise Conflict("This socket belongs to another session.")

    async def _say(self, caller: Caller, command: Say) -> None:
        self._check_model(command.model_id)
        await self._admit(caller, starts_answer=True)
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
        change = Change(first_name=name_from(command.content), active=True, model_id=command.model_id)
        stored = await self._commit(caller, entry, change)
        if stored.fresh:
            self._replies.wake(stored.session, stored.entry.index)

    async def _stop(self, caller: Caller, command: Stop) -> None:
        reply = self._replies.running(caller.session_id)
        if reply is None or command.target not in (None, reply.answer_id):
            caller.listener.send(protocol.ack(caller.session_id, command.message_id, caller.listener.position))
            return
        target = reply.answer_id
        entry = _system_entry(caller.session_id, Kind.STOP, command.message_id, {"target": target})
        stored = await self._commit(caller, entry, Change())
        if stored.fresh:
            await self._replies.stop(caller.session_id, Finish.STOPPED, target or None)

    async def _regenerate(self, caller: Caller, command: Regenerate) -> None:
        await self._admit(caller, starts_answer=True)
        session_id = caller.session_id
        for _ in range(5):
            replaces = await self._last_answer(session_id)
            answer_id = new_id()
            entry = turn_entry(session_id, command.message_id, answer_id, replaces)
            try:
                stored = await self._commit(caller, entry, Change(takes_turn=answer_id, active=True))
            except Fenced:
                await self._clear_turn(session_id)
                continue
            if stored.fresh:
                self._replies.again(stored.session, stored)
            return
        raise Unavailable("The running answer could not be stopped. Try again.", retry_after=1000)

    async def _clear_turn(self, session_id: str) -> None:
        """Stop the running answer; close one whose process died."""
        self._replies.forget_wanted(session_id)
        await self._replies.stop(session_id)
        session = await self._storage.get(session_id)
        if session:
            await self._replies.settle(session)

    async def _last_answer(self, session_id: str) -> str | None:
        """The answer to the last user message that still counts. Raises ``Conflict`` when nothing was asked."""
        entries = await self._storage.read(session_id, before=1 << 40, limit=RECENT)
        asked = max([e.index for e in entries if e.kind in (Kind.USER_MESSAGE, Kind.VOICE_MESSAGE)], default=0)
        if not asked:
            raise Conflict("There is no message to answer again.")
        answers = [e for e in entries if e.kind is Kind.AI_RESPONSE and e.index > asked and not e.superseded]
        return answers[-1].message_id if answers else None

    async def _select_model(self, caller: Caller, command: SelectModel) -> None:
        self._check_model(command.model_id)
        metadata = {"event": "model_changed", "model_id": command.model_id}
        entry = _system_entry(caller.session_id, Kind.NOTIFICATION, command.message_id, metadata)
        await self._commit(caller, entry, Change(model_id=command.model_id))

    async def _help(self, caller: Caller, command: AskHelp | CancelHelp) -> None:
        await self._admit(caller)
        state = Help.ASKED if isinstance(command, AskHelp) else Help.NONE
        metadata = {"event": "help_state", "state": str(state)}
        entry = _system_entry(caller.session_id, Kind.NOTIFICATION, command.message_id, metadata)
        if isinstance(command, AskHelp) and command.content:
            entry = msgspec.structs.replace(entry, content=command.content)
        await self._commit(caller, entry, Change(help_state=state, active=True))

    def _check_model(self, model_id: str | None) -> None:
        if model_id is not None and all(model.id != model_id for model in self._settings.models):
            raise NotFound("The model does not exist.")

    async def _admit(self, caller: Caller, *, starts_answer: bool = False) -> None:
        """Count a stored frame against the user's limits. Raises ``TooMany``."""
        user_id = caller.principal.user_id
        if wait := await self._backplane.hit(FRAMES, user_id):
            self._metrics.ratelimit_blocked_total.labels(FRAMES).inc()
            raise TooMany("Too many messages. Wait a moment.", retry_after=round(wait * 1000) + 1)
        if not starts_answer:
            return
        busy = self._replies.count(user_id) >= self._settings.max_answers
        if busy and not self._replies.running(caller.session_id):
            self._metrics.ratelimit_blocked_total.labels("answers").inc()
            raise TooMany("Too many answers at once. Wait for one to finish.", retry_after=2000)
        await self._check_budget(user_id)

    async def _check_budget(self, user_id: str) -> None:
        budget = self._settings.token_budget
        now = datetime.now(UTC)
        if budget and await self._storage.usage(user_id, f"{now:%Y-%m-%d}") >= budget:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            self._metrics.ratelimit_blocked_total.labels("tokens").inc()
            wait = round((midnight - now).total_seconds() * 1000)
            raise TooMany("The tokens of today are used up.", retry_after=wait)

    async def _commit(self, caller: Caller, entry: Entry, change: Change) -> Appended:
        """Commit a socket's frame; its ack goes out in the entry's place, or again when it is a repeat."""
        listener = caller.listener
        listener.sending.add(entry.message_id)
        try:
            stored = await self._storage.append(entry, change)
        except BaseException:
            listener.sending.discard(entry.message_id)
            raise
        if stored.fresh:
            await self._tell(stored)
        else:
            self._acknowledge_again(listener, entry, stored.entry)
        return stored

    def _acknowledge_again(self, listener: Listener, entry: Entry, first: Entry) -> None:
        """The first one counts. If its place in the log is still to come here, the ack comes with it."""
        room = self._hub.room(entry.session_id)
        passed = room is None or first.index <= room.index
        same = _said(first) == _said(entry)
        if passed or not same:
            listener.sending.discard(entry.message_id)
        if not same:
            raise Conflict("Another message has this message_id.")
        if passed:
            listener.send(protocol.ack(entry.session_id, entry.message_id, first.seq))

    async def _tell(self, stored: Appended) -> None:
        await self._backplane.publish(stored.entry.session_id, Stored(stored.entry))

    # -- commands from anywhere ----------------------------------------------------------------------------------------

    async def rename(self, session: Session, name: str) -> Session:
        """Give the session a name; everyone attached is told."""
        return await self._note(session, {"event": "session_renamed", "name": name}, Change(name=name))

    async def close(self, session: Session) -> Session:
        """End the session: its answer stops, its period closes. Ending twice is ending once."""
        if not session.is_active:
            return session
        await self._replies.stop(session.id)
        self._metrics.sessions_ended_total.inc()
        return await self._note(session, {"event": "session_ended"}, Change(active=False))

    async def delete(self, session: Session) -> None:
        """Remove the session for good; its sockets close."""
        self._replies.forget_wanted(session.id)
        await self._replies.stop(session.id)
        await self._storage.delete(session.id)
        await self._backplane.publish(session.id, Removed())
        await self._hub.forget(session.id)

    async def share(self, session: Session) -> str:
        """The session's share token: the same until it is revoked."""
        if session.share_token:
            return session.share_token
        token = new_id()
        await self._append(session, Kind.SHARE, {}, Change(share_token=token))
        return token

    async def unshare(self, session: Session) -> None:
        """Revoke the share link at once."""
        if session.share_token:
            await self._append(session, Kind.SHARE, {}, Change(share_token=""))

    async def _note(self, session: Session, metadata: Mapping[str, str], change: Change) -> Session:
        return await self._append(session, Kind.NOTIFICATION, metadata, change)

    async def _append(self, session: Session, kind: Kind, metadata: Mapping[str, str], change: Change) -> Session:
        stored = await self._storage.append(_system_entry(session.id, kind, new_id(), metadata), change)
        await self._tell(stored)
        return stored.session


def _said(entry: Entry) -> tuple[object, ...]:
    """What makes two frames with one id the same message."""
    return entry.kind, entry.content, entry.file_id, entry.metadata.get("event")


def _system_entry(session_id: str, kind: Kind, message_id: str, metadata: Mapping[str, str]) -> Entry:
    return Entry(
        session_id=session_id,
        kind=kind,
        message_id=message_id,
        sender=Sender.SYSTEM,
        timestamp=now_ms(),
        metadata=dict(metadata),
    )
