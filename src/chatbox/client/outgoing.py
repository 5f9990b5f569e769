"""Commands that the server has not acknowledged yet. No I/O, no clock."""

from __future__ import annotations

from chatbox.client.frames import Command
from chatbox.errors import TooManyPending

LIMIT = 100

AGAIN = 10.0
"""Seconds without an answer after which a command is sent again: a server drops what exceeds its frame rate."""

URGENT = frozenset({"stop"})
"""Commands that don't wait for those before them."""


class Outgoing:
    """Keeps commands until they are acknowledged, at most ``limit``.

    They go out in order, one at a time: the next one follows the ack of the one before, so that a refusal that has to
    be waited out can't turn the order of two messages round. After a lost connection what was on its way is due again.
    Times are monotonic seconds.
    """

    __slots__ = ("_again_at", "_limit", "_not_before", "_waiting")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._waiting: dict[str, Command] = {}
        self._not_before: dict[str, float] = {}  # postponed
        self._again_at: dict[str, float] = {}  # on its way

    def __len__(self) -> int:
        return len(self._waiting)

    def get(self, message_id: str) -> Command | None:
        """The unacknowledged command of that id."""
        return self._waiting.get(message_id)

    def add(self, command: Command) -> None:
        """Take a command over. Raises ``TooManyPending``; nothing is kept then."""
        if len(self._waiting) >= self._limit:
            raise TooManyPending(f"{self._limit} messages wait for the connection already")
        self._waiting[command.message_id] = command

    def due(self, now: float) -> Command | None:
        """The next command that has to be sent now, if there is one; it counts as sent from here on."""
        for command in self._next():
            if self._due_at(command) <= now:
                self._again_at[command.message_id] = now + AGAIN
                return command
        return None

    def wake_at(self) -> float | None:
        """When something will be due; None: nothing waits."""
        return min(map(self._due_at, self._next()), default=None)

    def settle(self, message_id: str) -> Command | None:
        """The server has answered, for good. None: it was settled before, or never ours."""
        self._again_at.pop(message_id, None)
        self._not_before.pop(message_id, None)
        return self._waiting.pop(message_id, None)

    def postpone(self, message_id: str, until: float) -> None:
        """The server will take it later."""
        self._again_at.pop(message_id, None)
        self._not_before[message_id] = until

    def disconnected(self) -> None:
        """Whatever was on its way may be lost."""
        self._again_at.clear()

    def _due_at(self, command: Command) -> float:
        return max(self._not_before.get(command.message_id, 0.0), self._again_at.get(command.message_id, 0.0))

    def _next(self) -> list[Command]:
        """Whose turn it is."""
        found = [command for command in self._waiting.values() if command.type in URGENT]
        found += [command for command in self._waiting.values() if command.type not in URGENT][:1]
        return found
