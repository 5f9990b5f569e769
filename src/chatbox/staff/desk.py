"""What each frame of staff means.

An action is first noted in the audit log, then done: by ``Takeovers``, which decides who may. So is opening a
conversation.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import assert_never

from chatbox.assist import Assist
from chatbox.audit import Audit
from chatbox.backplane.base import Backplane, Signal
from chatbox.conversations import Conversations
from chatbox.errors import Conflict, NotFound
from chatbox.hub import Hub
from chatbox.outbox import Outbox
from chatbox.protocol import Authenticate, Ping, pong
from chatbox.session import Principal, now_ms
from chatbox.staff import protocol
from chatbox.staff.figures import BucketView, FiguresView
from chatbox.staff.parameters import ListParameters, SeriesParameters, asked
from chatbox.staff.presence import Presence
from chatbox.staff.protocol import (
    Act,
    AskFigures,
    Assistance,
    History,
    Join,
    Leave,
    ListSessions,
    Note,
    Say,
    StaffCommand,
    Suggest,
    Summarise,
    Transfer,
    Typing,
    Unwatch,
    Watch,
)
from chatbox.staff.view import Views
from chatbox.staff.watching import Watcher, Watching
from chatbox.storage.base import Storage
from chatbox.takeovers import Takeovers

ACTIONS: dict[type[Act], str] = {Join: "takeover", Leave: "release", Transfer: "transfer", Say: "message", Note: "note"}
"""Names in the audit log, the same as by HTTP."""

ASSISTANCE: dict[type[Assistance], str] = {Suggest: "suggestion", Summarise: "summary"}


class Desk:
    """The commands of staff."""

    def __init__(
        self,
        storage: Storage,
        backplane: Backplane,
        hub: Hub,
        conversations: Conversations,
        takeovers: Takeovers,
        presence: Presence,
        views: Views,
        audit: Audit,
        assist: Assist,
    ) -> None:
        self._storage = storage
        self._backplane = backplane
        self._hub = hub
        self._conversations = conversations
        self._takeovers = takeovers
        self._presence = presence
        self._views = views
        self._audit = audit
        self._assist = assist

    def watching(self, outbox: Outbox) -> Watching:
        """The watched sessions of a new socket: none yet."""
        return Watching(self._storage, self._hub, self._conversations, self._views, outbox)

    async def handle(self, who: Principal, watching: Watching, outbox: Outbox, command: StaffCommand) -> None:
        """Carry out a command. Raises ``Refusal`` when nothing was done, ``StorageError``."""
        match command:
            case Watch():
                async with self._audit.doing(who, "watch", session_id=command.session_id):
                    await watching.watch(command)
            case Unwatch():
                watching.unwatch(command.session_id)
            case History():
                await watching.history(command.session_id, command.message_id, command.before)
            case Typing():
                await self._type(who, watching, command)
            case Join() | Leave() | Transfer() | Say() | Note():
                to = command.to if isinstance(command, Transfer) else ""
                async with self._audit.doing(who, ACTIONS[type(command)], session_id=command.session_id, user_id=to):
                    await self._act(who, await watching.listener(command.session_id), command)
            case ListSessions():
                await self._list(outbox, command)
            case AskFigures():
                await self._figures(outbox, command)
            case Suggest() | Summarise():
                async with self._audit.doing(who, ASSISTANCE[type(command)], session_id=command.session_id):
                    await self._help(outbox, command)
            case Ping():
                outbox.put(pong(command.message_id), "")
            case Authenticate():
                raise Conflict("The socket renews its own token.")
            case _:
                assert_never(command)

    async def _act(self, who: Principal, listener: Watcher, command: Act) -> None:
        session_id, message_id = command.session_id, command.message_id
        match command:
            case Join():
                await self._takeovers.join(who, session_id, message_id, listener)
            case Leave():
                await self._takeovers.leave(who, session_id, message_id, listener)
            case Transfer():
                colleague = await self._presence.colleague(command.to)
                await self._takeovers.transfer(who, colleague, session_id, message_id, listener)
            case Say():
                await self._takeovers.say(who, session_id, message_id, command.content, listener)
            case Note():
                await self._takeovers.note(who, session_id, message_id, command.content, listener)
            case _:
                assert_never(command)

    async def _type(self, who: Principal, watching: Watching, command: Typing) -> None:
        """Typing shows while one has the session; else it is nothing."""
        session = await self._storage.get(command.session_id)
        if session and session.assisting_admin_id == who.user_id:
            listener = await watching.listener(command.session_id)
            frame = protocol.typing(command.session_id, who.staff)
            await self._backplane.publish(command.session_id, Signal(str(frame), but=listener.id))

    async def _help(self, outbox: Outbox, command: Assistance) -> None:
        """Let the model write for who asks."""
        session = await self._storage.get(command.session_id)
        if session is None:
            raise NotFound("The conversation does not exist.")
        ask = self._assist.suggestion if isinstance(command, Suggest) else self._assist.summary
        async with aclosing(ask(session)) as pieces:
            async for text in pieces:
                outbox.put(protocol.assistance(command, text), "")
        outbox.put(protocol.assistance(command, "", done=True), "")

    async def _list(self, outbox: Outbox, command: ListSessions) -> None:
        query = asked(ListParameters, command.parameters).query()
        sessions = await self._storage.overview.sessions(query, now_ms())
        total = await self._storage.overview.count(query)
        views = await self._views.of_all(sessions)
        outbox.put(protocol.session_list(command.message_id, views, total, command.parameters), "")

    async def _figures(self, outbox: Outbox, command: AskFigures) -> None:
        now = now_ms()
        start, end, step = asked(SeriesParameters, command.parameters).steps(now)
        figures = await self._storage.overview.figures(start, end, now)
        series = await self._storage.overview.series(start, end, step, now)
        numbers = FiguresView.of(figures, start, end).model_dump()
        steps = [BucketView.of(bucket).model_dump() for bucket in series]
        outbox.put(protocol.figures(command.message_id, numbers, steps, command.parameters), "")
