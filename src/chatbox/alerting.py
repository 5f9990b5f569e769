"""Everything that sees to it that staff are told: who notices, what is kept until it is sent, and the channels."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from chatbox.commits import Commits
from chatbox.connections import Connections
from chatbox.crashes import Crashes
from chatbox.helpdesk import Calls, Helpdesk
from chatbox.hours import Hours
from chatbox.metrics import Metrics
from chatbox.monitors import DatabaseMonitor, ModelMonitor, TrafficMonitor
from chatbox.notify.alerts import Alerts
from chatbox.notify.outbox import Channels, Outbox
from chatbox.settings import Settings
from chatbox.staff.presence import Presence
from chatbox.storage.base import Storage
from chatbox.tasks import Tasks


class Alerting:
    """Opened after the store and closed before it: that tells that the process ended as it should."""

    def __init__(
        self,
        storage: Storage,
        commits: Commits,
        channels: Channels,
        metrics: Metrics,
        connections: Connections,
        presence: Presence,
        settings: Settings,
    ) -> None:
        self._channels = channels
        zone = settings.opening_timezone
        desk = Helpdesk(storage, commits, Hours(settings.opening_hours, zone))
        outbox = Outbox(storage.records, channels, metrics, settings.admin_panel_url)
        self._alerts = Alerts(storage.records, outbox, desk, Hours(settings.quiet_hours, zone))
        self._calls = Calls(storage, desk, self._alerts, presence.online, escalation=settings.help_escalation)
        self._models = ModelMonitor(self._alerts)
        self._database = DatabaseMonitor(storage, self._alerts, connections.__len__)
        self._traffic = TrafficMonitor(metrics, self._alerts, connections.__len__)
        self._crashes = Crashes(storage.records, self._alerts, connections.__len__)
        self._open = AsyncExitStack()

    def heard(self, news: object) -> None:
        """Something was stored by this process."""
        self._calls.heard(news)
        self._models.heard(news)

    def start(self, tasks: Tasks) -> None:
        """Begin to notice and to tell."""
        tasks.keep(self._alerts.run, "alerts")
        tasks.keep(self._calls.run, "calls for help")
        tasks.keep(self._models.run, "models' failures")
        tasks.keep(self._database.run, "the store's failures")
        tasks.keep(self._traffic.run, "traffic")
        tasks.keep(self._crashes.run, "crashes")

    async def __aenter__(self) -> Self:
        for way in self._channels.values():
            await self._open.enter_async_context(way.channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._crashes.end()
        await self._open.aclose()
