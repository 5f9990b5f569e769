"""Where the terminal chat shows things: a terminal with rendered Markdown, or plain text for pipes."""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.markup import escape
from rich.segment import Segment

from chatbox.cli.blocks import Blocks

try:
    import readline  # gives input() its line editing and history
except ImportError:  # pragma: no cover - not every Python is built with it
    readline = None  # type: ignore[assignment]

PROMPT = "you> "
FRAME = 0.08
STILL = 10.0
"""Seconds without a sign after which a person who types again has begun anew."""


class Screen(ABC):
    """Called from the chat's thread, while ``ask`` waits in the main one."""

    @abstractmethod
    def ask(self) -> str:
        """The next line or lines that were typed. Raises ``EOFError`` at the end, ``KeyboardInterrupt`` on Ctrl-C."""

    @abstractmethod
    def note(self, text: str) -> None:
        """A line from the program."""

    @abstractmethod
    def message(self, speaker: str, text: str) -> None:
        """What someone said, whole."""

    @abstractmethod
    def typing(self, name: str) -> None:
        """A member of staff is typing."""

    @abstractmethod
    def waiting(self) -> None:
        """An answer is on its way."""

    @abstractmethod
    def piece(self, text: str) -> None:
        """More of the answer."""

    @abstractmethod
    def answered(self, remark: str, whole: str) -> None:
        """The answer is complete: ``whole``. ``remark`` says why it ended early, if it did."""


class PlainScreen(Screen):
    """Lines in, text out, nothing else: for pipes. Notes go to standard error."""

    def __init__(self) -> None:
        self._shown = ""

    def ask(self) -> str:
        return input()

    def note(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def message(self, speaker: str, text: str) -> None:
        self._write(f"{speaker}: {text}\n")

    def typing(self, name: str) -> None:
        """Of no use in a pipe."""

    def waiting(self) -> None:
        self._shown = ""

    def piece(self, text: str) -> None:
        self._shown += text
        self._write(text)

    def answered(self, remark: str, whole: str) -> None:
        if not whole.startswith(self._shown):
            self._write("\n")
            self._shown = ""
        self._write(whole[len(self._shown) :])
        self._write("" if whole.endswith("\n") else "\n")
        if remark:
            self.note(f"({remark})")
        self._shown = ""

    @staticmethod
    def _write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


class TerminalScreen(Screen):
    """Finished blocks of an answer are printed; the one that grows is redrawn below them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._blocks = Blocks()
        self._live: Live | None = None
        self._drawn = 0.0
        self._asking = False
        self._typed_at = 0.0
        self._lock = threading.RLock()

    def ask(self) -> str:
        self._console.print()
        self._asking = True
        try:
            return _joined(PROMPT)
        finally:
            self._asking = False

    def note(self, text: str) -> None:
        self._above(f"[dim]· {escape(text)}[/dim]")

    def message(self, speaker: str, text: str) -> None:
        self._typed_at = 0.0
        self._above(f"[bold]{escape(speaker)}[/bold]", Markdown(text))

    def typing(self, name: str) -> None:
        """Said once until they have sent it, or have been still for a while."""
        now = time.monotonic()
        if now - self._typed_at > STILL:
            self._above(f"[dim]· {escape(name)} is typing …[/dim]")
        self._typed_at = now

    def waiting(self) -> None:
        with self._lock:
            self._end()
            self._clear_prompt()
            self._live = Live("[dim]…[/dim]", console=self._console, auto_refresh=False, transient=True)
            self._live.start(refresh=True)

    def piece(self, text: str) -> None:
        with self._lock:
            if self._live is None:
                self.waiting()
            if done := self._blocks.feed(text):
                self._console.print(Markdown(done))
            if self._live and time.monotonic() - self._drawn > FRAME:
                self._drawn = time.monotonic()
                self._live.update(_Tail(self._blocks.rest or "…"), refresh=True)

    def answered(self, remark: str, whole: str) -> None:
        with self._lock:
            rest = self._end()
            if rest.strip():
                self._console.print(Markdown(rest))
            elif not whole:
                self._console.print("[dim](no text)[/dim]")
            if remark:
                self._console.print(f"[dim]({escape(remark)})[/dim]")
            self._show_prompt()

    def _end(self) -> str:
        """Take the growing part away; returns its text."""
        if self._live:
            self._live.stop()
            self._live = None
        return self._blocks.finish()

    def _above(self, *parts: str | Markdown) -> None:
        """Print above the prompt or the growing answer."""
        with self._lock:
            if not self._live:
                self._clear_prompt()
            for part in parts:
                self._console.print(part)
            if not self._live:
                self._show_prompt()

    def _clear_prompt(self) -> None:
        if self._asking:
            self._console.file.write("\r\x1b[K")

    def _show_prompt(self) -> None:
        if self._asking:
            self._console.file.write(f"\n{PROMPT}{_typed_so_far()}")
            self._console.file.flush()


class _Tail:
    """Rendered Markdown, of which the last lines are shown when it is taller than the terminal."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(Markdown(self._text), options.update(height=None), pad=False)
        for line in lines[-max(3, console.height - 2) :]:
            yield from line
            yield Segment.line()


def _joined(prompt: str) -> str:
    """A line, and those after it while one ends with a backslash."""
    line = input(prompt)
    while line.endswith("\\"):
        line = line[:-1] + "\n" + input("    … ")
    return line


def _typed_so_far() -> str:
    return readline.get_line_buffer() if readline else ""
