"""The HTTP routes of a user: sessions, their messages, share links, exports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from chatbox.client.endings import of_answer, of_failure
from chatbox.client.frames import ErrorBody, Frame
from chatbox.client.tokens import Tokens
from chatbox.errors import ConnectionLost

T = TypeVar("T")
TIMEOUT = aiohttp.ClientTimeout(total=30.0, connect=10.0)


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A session. Times are RFC 3339 UTC, ``duration`` is in s, response times in ms."""

    id: str
    user_id: str
    name: str
    model_id: str | None = None
    start_time: str = ""
    end_time: str | None = None
    last_activity: str = ""
    is_active: bool = False
    duration: int = 0
    message_count: int = 0
    total_tokens: int = 0
    avg_response_time: int = 0
    max_response_time: int = 0
    help_requested: bool = False
    help_state: str = "none"
    admin_assisted: bool = False
    assisting_admin_id: str | None = None
    assisting_admin_name: str | None = None
    share_token: str | None = None


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the user's sessions, newest activity first. ``next_cursor`` is None on the last one."""

    sessions: list[SessionInfo]
    next_cursor: str | None = None


class StoredMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A stored message, or a line of the system (``sender`` is ``system``)."""

    message_id: str
    seq: int
    content: str
    timestamp: str
    sender: str
    file_id: str | None = None
    file_url: str | None = None
    model_id: str | None = None
    metadata: dict[str, str] | None = None

    @property
    def frame(self) -> Frame:
        """The frame that a resume would have brought."""
        return Frame(
            type=self._kind,
            message_id=self.message_id,
            seq=self.seq,
            prev=0,
            content=self.content,
            sender=self.sender,
            timestamp=self.timestamp,
            model_id=self.model_id,
            file_id=self.file_id,
            file_url=self.file_url,
            metadata=self.metadata or {},
        )

    @property
    def _kind(self) -> str:
        if self.file_id or self.file_url:
            return "file_upload"
        if self.sender != "user" and (event := (self.metadata or {}).get("event")) in ("admin_join", "admin_leave"):
            return event
        return {"ai": "ai_response", "system": "notification"}.get(self.sender, "user_message")


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a conversation, ascending. ``before`` gets the part before it; None at the start."""

    session_id: str
    name: str
    messages: list[StoredMessage]
    model_id: str | None = None
    epoch: str = ""
    seq: int = 0
    before: int | None = None


class _Shared(msgspec.Struct):
    share_token: str


class Api:
    """Calls raise what the server refused them with (``NotFound``, ``TooMany``, …) or ``ConnectionLost``.

    A token that the server refuses is renewed once, where that is possible. ``http`` is the caller's to close.
    """

    def __init__(self, base_url: str, tokens: Tokens, http: aiohttp.ClientSession) -> None:
        self._base = base_url.rstrip("/")
        self._tokens = tokens
        self._http = http

    async def sessions(self, *, q: str = "", cursor: str = "", limit: int = 50) -> Sessions:
        """A page of the user's sessions; ``q`` searches their names."""
        asked = {"q": q, "cursor": cursor, "limit": str(limit)}
        return await self._get("/sessions", Sessions, {key: value for key, value in asked.items() if value})

    async def all_sessions(self, *, q: str = "") -> AsyncIterator[SessionInfo]:
        """Every session of the user, page by page."""
        page = await self.sessions(q=q, limit=100)
        while page.next_cursor:
            for session in page.sessions:
                yield session
            page = await self.sessions(q=q, cursor=page.next_cursor, limit=100)
        for session in page.sessions:
            yield session

    async def conversation(self, session_id: str, *, before: int | None = None) -> Conversation:
        """The newest messages, or those before a position."""
        return await self._get(_path(session_id), Conversation, {"before": str(before)} if before else {})

    async def messages(self, session_id: str, *, after: int = 0, until: int | None = None) -> list[StoredMessage]:
        """All stored messages with ``after < seq <= until``, ascending. Without ``until``, they end where a running
        answer begins."""
        found: list[StoredMessage] = []
        page = await self.conversation(session_id, before=None if until is None else until + 1)
        while True:
            found[:0] = page.messages
            if page.before is None or page.before <= after:
                return [message for message in found if message.seq > after]
            page = await self.conversation(session_id, before=page.before)

    async def rename(self, session_id: str, name: str) -> SessionInfo:
        """Give the session another name."""
        return _decoded(await self._call("PATCH", _path(session_id), json={"name": name}), SessionInfo)

    async def end(self, session_id: str) -> None:
        """End the session; a running answer stops. Writing in it later opens it again."""
        await self._call("POST", _path(session_id, "/end"))

    async def delete(self, session_id: str) -> None:
        """Remove the session for good."""
        await self._call("DELETE", _path(session_id))

    async def share(self, session_id: str) -> str:
        """The session's share token: the same until it is revoked."""
        return _decoded(await self._call("POST", _path(session_id, "/share")), _Shared).share_token

    async def unshare(self, session_id: str) -> None:
        """Revoke the share link at once."""
        await self._call("DELETE", _path(session_id, "/share"))

    async def export(self, session_id: str, form: Literal["json", "markdown"] = "json") -> bytes:
        """The whole conversation as a file's content."""
        return await self._call("GET", _path(session_id, "/export"), params={"format": form})

    async def _get(self, path: str, kind: type[T], params: dict[str, str]) -> T:
        return _decoded(await self._call("GET", path, params=params), kind)

    async def _call(self, method: str, path: str, **options: Any) -> bytes:
        token = await self._tokens.current()
        status, body, wait = await self._send(method, path, token, options)
        if status == 401 and self._tokens.renewable:
            status, body, wait = await self._send(method, path, await self._tokens.after(token), options)
        if status < 400:
            return body
        raise of_answer(status, _problem(body, wait).refusal)

    async def _send(self, method: str, path: str, token: str, options: dict[str, Any]) -> tuple[int, bytes, str | None]:
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with self._http.request(
                method, self._base + path, headers=headers, timeout=TIMEOUT, **options
            ) as answer:
                return answer.status, await answer.read(), answer.headers.get("Retry-After")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise of_failure(error) from error


class _Problem(msgspec.Struct):
    error: str = ""
    code: str = ""


def _problem(body: bytes, wait: str | None) -> ErrorBody:
    try:
        found = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        found = _Problem()
    retry_after = int(wait) * 1000 if wait and wait.isdecimal() else None
    return ErrorBody(found.code, found.error, retry_after=retry_after)


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise ConnectionLost(f"the server's answer is not what was expected: {error}") from None


def _path(session_id: str, rest: str = "") -> str:
    return f"/sessions/{quote(session_id, safe='')}{rest}"
