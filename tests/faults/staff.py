"""Staff: they take users' conversations over, say something, and give them back, each time through another replica.

Like every client they send again, by the same id, what was not acknowledged.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Any

import aiohttp

from chatbox.session import new_id
from tests.faults.history import FAIL, INVOKE, OK, History
from tests.faults.talkers import Talker
from tests.live import token

AGAIN = ("DATABASE_ERROR", "SERVICE_ERROR", "TOO_MANY_REQUESTS")
PATIENCE = 20.0
"""Seconds that a member of staff waits for an acknowledgement before trying another replica."""


class Member:
    """A member of staff. ``bases`` are the replicas' addresses, ``taken`` counts their takeovers."""

    def __init__(self, user: str, bases: Sequence[str], history: History, chance: Random) -> None:
        self.user = user
        self.taken = 0
        self._bases = bases
        self._history = history
        self._chance = chance
        self._numbers = count(1)

    async def visit(self, talker: Talker, words: int) -> None:
        """Take a conversation over, unless a colleague has it, say something, and give it back."""
        session_id = talker.devices[0].session
        if not await self._do("admin_join", session_id, talker.user):
            return
        self.taken += 1
        for _ in range(words):
            await asyncio.sleep(self._chance.uniform(0, 0.3))
            await self._do("user_message", session_id, talker.user, f"{self.user} says {next(self._numbers)}")
        await asyncio.sleep(self._chance.uniform(0, 0.5))
        await self._do("admin_leave", session_id, talker.user)

    async def _do(self, kind: str, session_id: str, user: str, content: str = "") -> bool:
        """Whether it was acknowledged, at last; false when it was refused for good."""
        frame = {"type": kind, "session_id": session_id, "message_id": new_id()}
        if content:
            frame["content"] = content
        self._note(INVOKE, frame, user)
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    answer = await self._asked(frame)
            except (aiohttp.ClientError, OSError, TimeoutError):
                await asyncio.sleep(0.2)
                continue
            if answer["type"] == "ack":
                self._note(OK, frame, user)
                return True
            if answer["error"]["code"] not in AGAIN:
                self._note(FAIL, frame, user)
                return False
            await asyncio.sleep(0.3)

    async def _asked(self, frame: dict[str, str]) -> dict[str, Any]:
        """What some replica answers to a frame. Raises ``OSError`` when its line ends before that."""
        head = {"Authorization": f"Bearer {token(self.user, roles=['chat_admin'])}"}
        base = self._chance.choice(self._bases)
        async with aiohttp.ClientSession() as http, http.ws_connect(f"{base}/admin/ws", headers=head) as line:
            await line.send_str(json.dumps(frame))
            async for message in line:
                answer = json.loads(message.data)
                if answer["type"] in ("ack", "error") and answer.get("message_id") == frame["message_id"]:
                    return answer
        raise ConnectionResetError(f"{base} has closed the socket")

    def _note(self, kind: str, frame: dict[str, str], user: str) -> None:
        more = {"type": frame["type"], "admin_id": self.user}
        self._history.note(
            kind,
            "staff",
            who=self.user,
            user="",
            session=frame["session_id"],
            id=frame["message_id"],
            text=frame.get("content", ""),
            more=more | {"of": user},
        )
