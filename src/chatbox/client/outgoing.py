"""Commands that the server has not acknowledged yet. No I/O, no clock."""

from __future__ import annotations

from chatbox.client.frames import Command
from chatbox.errors import TooManyPending

LIMIT = 100

URGENT = frozenset({"stop"})
"""Commands that don't wait for those before them."""


class Outgoing:
    """Keeps commands until they are acknowledged, at most ``limit``.

    They go out in order, one at a time: the next one follows the ack of the one before, so that a refusal that has to
    be waited out can't turn the order of two messages round. After a lost connection what was on its way is due again.
    Times are monotonic seconds.
    """

    __slots__ = ("_limit", "_not_before", "_on_its_way", "_waiting")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._waiting: dict[str, Command] = {}
        self._on_its_way: set[str] = set()
        self._not_before: dict[str, float] = {}

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

    def due(self, now: float) -> list[Command]:
        """What has to be sent now; counts as sent from here on."""
        found = [command for command in self._next() if self._not_before.get(command.message_id, 0.0) <= now]
        self._on_its_way.update(command.message_id for command in found)
        return found

    def wake_at(self) -> float | None:
        """When something that was postponed is due; None: nothing waits for the clock."""
        return min((self._not_before.get(command.message_id, 0.0) for command in self._next()), default=None)

    def settle(self, message_id: str) -> Command | None:
        """The server has answered, for good. None: it was settled before, or never ours."""
        self._on_its_way.discard(message_id)
        self._not_before.pop(message_id, None)
        return self._waiting.pop(message_id, None)

    def postpone(self, message_id: str, until: float) -> None:
        """The server will take it later."""
        self._on_its_way.discard(message_id)
        self._not_before[message_id] = until

    def disconnected(self) -> None:
        """Whatever was on its way may be lost."""
        self._on_its_way.clear()

    def _next(self) -> list[Command]:
        """Whose turn it is, of those that are not on their way."""
        found = [command for command in self._waiting.values() if command.type in URGENT]
        found += [command for command in self._waiting.values() if command.type not in URGENT][:1]
        return [command for command in found if command.message_id not in self._on_its_way]
