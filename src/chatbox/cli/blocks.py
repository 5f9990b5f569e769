"""Markdown that is still coming in: which part of it is finished. No I/O."""

from __future__ import annotations

import re

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


class Blocks:
    """Splits growing Markdown into finished blocks and the rest, which may still change its meaning.

    A block ends with an empty line outside a fenced code block, or with the end of such a block.
    """

    def __init__(self) -> None:
        self.rest = ""
        self._scanned = 0
        self._fence = ""

    def feed(self, text: str) -> str:
        """Add text; returns what is finished since the last call, perhaps nothing."""
        self.rest += text
        cut = 0
        while (end := self.rest.find("\n", self._scanned)) >= 0:
            if self._ends_block(self.rest[self._scanned : end]):
                cut = end + 1
            self._scanned = end + 1
        done, self.rest = self.rest[:cut], self.rest[cut:]
        self._scanned -= cut
        return done

    def finish(self) -> str:
        """The rest; begins anew."""
        done, self.rest, self._scanned, self._fence = self.rest, "", 0, ""
        return done

    def _ends_block(self, line: str) -> bool:
        mark = _FENCE.match(line)
        if self._fence:
            closed = bool(mark) and line.strip().startswith(self._fence) and not line.strip().strip(self._fence[0])
            self._fence = "" if closed else self._fence
            return closed
        self._fence = mark[1] if mark else ""
        return not line.strip()
