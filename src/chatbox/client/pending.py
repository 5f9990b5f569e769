"""Who waits for what the server says to a command. No I/O, no clock."""

from __future__ import annotations

import asyncio

from chatbox.client.events import Ack
from chatbox.client.frames import Command, Frame
from chatbox.client.outgoing import Outgoing
from chatbox.errors import Conflict

PATIENCE = 90.0
"""The longest wait that the server may ask for before a command is tried again; beyond it, the command fails."""


class Pending:
    """Commands in ``outgoing``, each with a future of its ack."""

    def __init__(self) -> None:
        self.outgoing = Outgoing()
        self._waiters: dict[str, asyncio.Future[Ack]] = {}

    def ask(self, command: Command) -> asyncio.Future[Ack]:
        """The ack to come; the same command again has the same. Raises ``Conflict``, ``TooManyPending``."""
        waiter = self._waiters.get(command.message_id)
        if waiter is None:
            self.outgoing.add(command)
            waiter = self._waiters[command.message_id] = asyncio.get_running_loop().create_future()
        elif command != self.outgoing.get(command.message_id):
            raise Conflict("Another message has this message_id.")
        return waiter

    def settle(self, message_id: str, outcome: Ack | Exception) -> None:
        """The server has answered, for good."""
        self.outgoing.settle(message_id)
        waiter = self._waiters.pop(message_id, None)
        if waiter is None or waiter.done():
            return
        if isinstance(outcome, Ack):
            waiter.set_result(outcome)
        else:
            waiter.set_exception(outcome)
            waiter.exception()  # else one that nobody waits for any more is logged

    def refuse(self, frame: Frame, now: float) -> bool:
        """Whether an error is the answer to someone who waits; one that passes is not: it will be waited out."""
        error = frame.error
        if self.outgoing.get(frame.message_id) is None or not error.recoverable:
            return False
        if error.retry_after is None or error.retry_after > PATIENCE * 1000:
            self.settle(frame.message_id, error.refusal)
            return True
        self.outgoing.postpone(frame.message_id, now + error.retry_after / 1000)
        return False

    def end(self, error: Exception) -> None:
        """No answer will come any more."""
        for message_id in list(self._waiters):
            self.settle(message_id, error)
