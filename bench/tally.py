"""What the load generator saw: whether every answer was right, and how long its tokens were under way."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from bench.script import parse


class Tally:
    """Counts over the answers of one round. Times are in ms.

    ``exact`` answers are what the model sent, character by character, its time stamps in order. ``lost`` and
    ``doubled`` are tokens; ``wrong`` names whatever else was not as it should be.
    """

    def __init__(self, tokens: int) -> None:
        self._want = tokens
        self._texts: list[str] = []
        self.answers = self.exact = self.lost = self.doubled = self.tokens = self.frames = 0
        self.first: array[float] = array("d")
        self.delays: array[float] = array("d")
        self.wrong: Counter[str] = Counter()

    def piece(self, text: str, now: int) -> None:
        """A piece of an answer came at ``now``, in ns."""
        self.frames += 1
        for token in parse(text).tokens:
            self.delays.append((now - token.sent) / 1e6)

    def answer(self, text: str) -> None:
        """An answer is over; this is all of its text. It is judged later, when nobody's delay is being measured."""
        self._texts.append(text)
        self.answers += 1

    def judge(self) -> None:
        """Count what is right and wrong in the answers so far."""
        for text in self._texts:
            self._judge(text)
        self._texts = []

    def _judge(self, text: str) -> None:
        tokens, whole = parse(text)
        numbers = [token.number for token in tokens]
        found = set(numbers)
        self.tokens += len(tokens)
        self.lost += self._want - len(found)
        self.doubled += len(numbers) - len(found)
        in_order = numbers == list(range(self._want)) and all(a.sent <= b.sent for a, b in pairwise(tokens))
        self.exact += whole and in_order

    def problems(self, answers: int) -> list[str]:
        """Why the results are wrong; nothing when ``answers`` answers came and all were exact."""
        self.judge()
        found = [f"{count} times: {name}" for name, count in self.wrong.items()]
        if self.exact != answers:
            found.append(f"{self.exact} of {answers} answers exact, {self.lost} tokens lost, {self.doubled} doubled")
        return found


def percentile(values: Sequence[float], share: float) -> float:
    """NaN of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
