"""The staff side, put together: its socket, and what has to be kept running for it."""

from __future__ import annotations

from chatbox.access import Gate
from chatbox.assist import Assist
from chatbox.audit import Audit
from chatbox.auth import Origins
from chatbox.backplane.base import Backplane, Pool, Quotas
from chatbox.connections import Connections
from chatbox.conversations import Conversations
from chatbox.hub import Hub
from chatbox.keyring import Keyring
from chatbox.metrics import Metrics
from chatbox.staff.board import Board
from chatbox.staff.desk import Desk
from chatbox.staff.news import News
from chatbox.staff.presence import CALLS, DESKS, RECENTLY, Away, Presence
from chatbox.staff.socket import StaffSocket
from chatbox.staff.view import Views
from chatbox.storage.telling import TellingStorage
from chatbox.takeovers import Takeovers
from chatbox.tasks import Tasks

POOLS = {DESKS: Pool(), CALLS: Pool(linger=RECENTLY)}


class Office:
    """``away`` in s: so long a member of staff who is gone keeps the conversations that they have."""

    def __init__(
        self,
        storage: TellingStorage,
        backplane: Backplane,
        quotas: Quotas,
        hub: Hub,
        conversations: Conversations,
        takeovers: Takeovers,
        audit: Audit,
        assist: Assist,
        keyring: Keyring,
        tasks: Tasks,
        *,
        away: float,
    ) -> None:
        self._tasks = tasks
        self.presence = Presence(quotas, keyring)
        views = Views(quotas)
        self.news = News(storage, backplane, views)
        storage.follow(self.news.take)
        self.board = Board(storage, backplane, hub, self.presence, views, self.news, tasks)
        self.desk = Desk(storage, backplane, hub, conversations, takeovers, self.presence, views, audit, assist)
        self._away = Away(storage, backplane, self.presence, takeovers, away)

    def socket(
        self, connections: Connections, gate: Gate, origins: Origins, metrics: Metrics, *, query_token: bool
    ) -> StaffSocket:
        """The endpoint of staff sockets."""
        return StaffSocket(
            self.desk, self.board, connections, gate, origins, metrics, self._tasks, query_token=query_token
        )

    def start(self) -> None:
        """Keep everything going from now on."""
        self._tasks.keep(self.news.run, "news for staff")
        self._tasks.keep(self.board.run, "staff online")
        self._tasks.keep(self.board.run_queue, "waiting queue")
        self._tasks.keep(self._away.run, "staff away")
