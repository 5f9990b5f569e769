"""Seal everything again under the current key, while the store is in use or while it is not.

Runs inside the serving process or, when that is down, from the command line: only one process may open an SQLite file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chatbox.errors import StorageCorrupt
from chatbox.keyring import Keyring
from chatbox.storage.base import Cell, Cells, Renewal
from chatbox.storage.seals import Seals

BATCH = 200


async def rotate(cells: Cells, keyring: Keyring, progress: Callable[[int], None]) -> int:
    """Renew every value that was not sealed under the ring's current key; returns how many.

    ``progress`` gets the number of values renewed so far. May be cancelled or killed at any time and started again: it
    goes on where it was. Afterwards the older keys can be taken out of the ring. Raises ``StorageCorrupt`` at the end
    when there were values that don't open: they are left as they are, and the older keys stay needed.
    """
    seals = Seals(keyring)
    total = 0
    while True:
        renewed, broken = 0, 0
        async for batch in cells.stale(keyring.prefix, BATCH):
            renewals = list(_renewals(seals, batch))
            broken += len(batch) - len(renewals)
            renewed += await cells.rewrite(renewals)
            progress(total + renewed)
        total += renewed
        if broken:
            raise StorageCorrupt(f"{broken} values can't be opened with any configured key and were left as they are")
        if not renewed:
            break
    await cells.replace_key_checks(seals.key_check())
    return total


def _renewals(seals: Seals, cells: Iterable[Cell]) -> Iterable[Renewal]:
    for cell in cells:
        try:
            yield seals.renewal(cell)
        except StorageCorrupt:
            continue
