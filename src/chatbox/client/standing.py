"""How a call for help stands, as a conversation's log goes by. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from chatbox.session import Help

NEWS_AFTER: Mapping[str, str] = {Help.ASKED: Help.NONE, Help.TOLD: Help.ASKED}
"""To ask is news only once, that staff were told only after that."""


class Standing:
    """``state`` is ``none``, ``asked``, ``told`` or ``joined``, as the server has it at the same place of the log."""

    __slots__ = ("_assisted", "state")

    def __init__(self, state: str = Help.NONE, *, assisted: bool = False) -> None:
        self.state = str(state)
        self._assisted = assisted

    def joined(self) -> None:
        """Staff have the conversation now."""
        self._assisted = True
        if self.state != Help.NONE:
            self.state = str(Help.JOINED)

    def left(self) -> None:
        """The AI has it again."""
        self._assisted, self.state = False, str(Help.NONE)

    def told(self, news: Mapping[str, str]) -> str:
        """The state after news of a call; not all of it is news at this time. Of hours one is told without asking."""
        state = news.get("state", str(Help.NONE))
        hours = state == Help.ASKED and "open" in news
        if not self._assisted and not hours and NEWS_AFTER.get(state, self.state) == self.state:
            self.state = state
        return self.state
