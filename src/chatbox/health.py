"""Whether this process can do its work: asked by load balancers, told truthfully."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Mapping

import structlog

from chatbox.backplane.base import Backplane
from chatbox.connections import Connections
from chatbox.errors import BackplaneDown, ProviderError, StorageError
from chatbox.llm.base import Provider
from chatbox.storage.base import Storage

log = structlog.get_logger(component="health")

FRESH = 1.0
PATIENCE = 5.0
PROVIDER_INTERVAL = 30.0
PROVIDER_PATIENCE = 10.0
LAG_TICK, LAG_WINDOW, MAX_LAG = 0.25, 10.0, 1.0


class Health:
    """The readiness checks: store with its keys, the way to other replicas, loop lag, draining; providers are told, but
    an outage of a model does not take the conversations away. ``loop_lag`` is how late the loop ran at worst in the
    last 10 s, in s."""

    def __init__(
        self,
        storage: Storage,
        backplane: Backplane,
        providers: Mapping[str, Provider],
        connections: Connections,
    ) -> None:
        self._storage = storage
        self._backplane = backplane
        self._providers = providers
        self._connections = connections
        self._models: dict[str, str] = dict.fromkeys(providers, "not checked yet")
        self._checked = -FRESH
        self._last: tuple[bool, dict[str, object]] = False, {}
        self._checking = asyncio.Lock()
        self.loop_lag = 0.0

    async def ready(self) -> tuple[bool, dict[str, object]]:
        """The verdict and each check's result; at most 1 s old."""
        async with self._checking:
            if time.monotonic() - self._checked >= FRESH:
                self._last = await self._look()
                self._checked = time.monotonic()
        return self._last

    async def _look(self) -> tuple[bool, dict[str, object]]:
        store, backplane = await asyncio.gather(_answer(self._storage.check()), _answer(self._backplane.check()))
        lag = "ok" if self.loop_lag <= MAX_LAG else f"blocked for {self.loop_lag:.1f} s"
        draining = self._connections.draining
        checks: dict[str, object] = {
            "store": store,
            "backplane": backplane,
            "loop": lag,
            "draining": draining,
            "providers": dict(self._models),
        }
        return store == backplane == lag == "ok" and not draining, checks

    async def watch_loop(self) -> None:
        """Measure how late the loop runs, until cancelled."""
        late = deque([0.0], maxlen=round(LAG_WINDOW / LAG_TICK))
        while True:
            start = time.monotonic()
            await asyncio.sleep(LAG_TICK)
            late.append(time.monotonic() - start - LAG_TICK)
            self.loop_lag = max(late)

    async def watch_providers(self) -> None:
        """Ask the providers whether they are there, until cancelled."""
        while True:
            for name, provider in self._providers.items():
                self._models[name] = await _reach(provider)
            await asyncio.sleep(PROVIDER_INTERVAL)


async def _answer(asked: Awaitable[object]) -> str:
    """What a part says: ok, or why not."""
    try:
        async with asyncio.timeout(PATIENCE):
            await asked
    except TimeoutError:
        return f"no answer within {PATIENCE:.0f} s"
    except (StorageError, BackplaneDown) as error:
        log.error("a part fails its check", error=str(error))
        return type(error).__name__
    return "ok"


async def _reach(provider: Provider) -> str:
    try:
        async with asyncio.timeout(PROVIDER_PATIENCE):
            await provider.check()
    except (ProviderError, TimeoutError) as error:
        log.warning("a provider can't be reached", provider=provider.settings.id, error=str(error))
        return type(error).__name__
    return "ok"
