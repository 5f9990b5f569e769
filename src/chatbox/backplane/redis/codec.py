"""What is written into Redis and said on its channels: sealed, so that content is never there in the clear.

A message is a letter, the session's id, a line feed and a body:

    e  an entry          ``<position of the piece before it>|<sealed>``
    p  a piece           ``<answer id>``, a line feed, ``<seq>|<sealed>``
    t  a turn            ``t<answer id>|<sealed>``
    s  a signal, j  a socket that joined: ``<sealed>``
    r  the session was removed: nothing
    b  how far the session has come: its position, or nothing when that is not known

What can't be read, from a newer version or damaged, counts as something missed. Fields that are not known are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from chatbox.backplane.base import Behind, Event, Joined, Piece, Removed, Signal, Stored, Turn
from chatbox.errors import StorageCorrupt
from chatbox.keyring import Keyring

log = structlog.get_logger(component="backplane")

KINDS: dict[str, type[Signal | Joined]] = {"s": Signal, "j": Joined}
UNREADABLE = (StorageCorrupt, msgspec.DecodeError, ValueError)

_encode = msgspec.msgpack.Encoder().encode
_entry = msgspec.msgpack.Decoder(Stored)
_turn = msgspec.msgpack.Decoder(Turn)


class Codec:
    """Seals with the ring's current key, bound to the session and to what the value is."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._told: set[str] = set()

    # -- writing -------------------------------------------------------------------------------------------------------

    def entry(self, session_id: str, event: Stored) -> str:
        return self._seal(_encode(event), session_id, "e")

    def turn(self, session_id: str, turn: Turn) -> str:
        """A turn as its log begins with it."""
        return f"t{turn.answer_id}|{self._seal(_encode(turn), session_id, 't')}"

    def text(self, session_id: str, answer_id: str, text: str) -> str:
        return self._seal(text.encode(), session_id, answer_id)

    def piece(self, session_id: str, piece: Piece) -> str:
        """A piece as it stands in the log."""
        return f"{piece.seq}|{self.text(session_id, piece.answer_id, piece.text)}"

    def message(self, session_id: str, event: Signal | Joined | Removed) -> str:
        match event:
            case Removed():
                return f"r{session_id}\n"
            case Signal() | Joined():
                kind = "s" if isinstance(event, Signal) else "j"
                return f"{kind}{session_id}\n{self._seal(_encode(event), session_id, kind)}"

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, message: bytes) -> tuple[str, Event] | None:
        """A message's session and event; None for what is no message at all."""
        try:
            head, _, body = message.decode().partition("\n")
        except UnicodeDecodeError:
            head = body = ""
        kind, session_id = head[:1], head[1:]
        if not session_id:
            self._tell_once("a message could not be read", "no message")
            return None
        try:
            return session_id, self._event(kind, session_id, body)
        except UNREADABLE as error:
            self._tell_once("an event could not be read: it comes from a newer version, or is damaged", str(error))
            return session_id, Behind()

    def begun(self, session_id: str, rows: Sequence[bytes]) -> Turn | None:
        """The turn that a log begins with."""
        if not rows:
            return None
        try:
            return self._opened_turn(session_id, rows[0].decode())
        except UNREADABLE as error:
            self._tell_once("a running answer could not be read", str(error))
            return None

    def pieces(self, session_id: str, answer_id: str, rows: Sequence[bytes]) -> list[Piece]:
        """The pieces of a log. One that can't be read is empty: its position still counts."""
        return list(filter(None, [self._kept_piece(session_id, answer_id, row) for row in rows]))

    def _event(self, kind: str, session_id: str, body: str) -> Event:
        match kind:
            case "p":
                answer_id, _, piece = body.partition("\n")
                return self._opened_piece(session_id, answer_id, piece)
            case "e":
                after, _, sealed = body.partition("|")
                stored = _entry.decode(self._open(sealed, session_id, "e"))
                return Stored(stored.entry, after=int(after))
            case "t":
                return self._opened_turn(session_id, body)
            case "s" | "j":
                return msgspec.msgpack.decode(self._open(body, session_id, kind), type=KINDS[kind])
            case "r":
                return Removed()
            case "b":
                return Behind(int(body) if body else None)
        raise ValueError(f"unknown kind {kind!r}")

    def _opened_turn(self, session_id: str, row: str) -> Turn:
        return _turn.decode(self._open(row.partition("|")[2], session_id, "t"))

    def _opened_piece(self, session_id: str, answer_id: str, row: str) -> Piece:
        seq, _, sealed = row.partition("|")
        return Piece(answer_id, int(seq), self._open(sealed, session_id, answer_id).decode())

    def _kept_piece(self, session_id: str, answer_id: str, row: bytes) -> Piece | None:
        try:
            return self._opened_piece(session_id, answer_id, row.decode())
        except UNREADABLE as error:
            self._tell_once("a piece could not be read", str(error))
        seq = row.partition(b"|")[0]
        return Piece(answer_id, int(seq), "") if seq.isdigit() else None

    # -- sealing -------------------------------------------------------------------------------------------------------

    def _seal(self, plain: bytes, session_id: str, what: str) -> str:
        return self._keyring.encrypt(plain, f"backplane:{session_id}:{what}".encode())

    def _open(self, sealed: str, session_id: str, what: str) -> bytes:
        return self._keyring.decrypt(sealed, f"backplane:{session_id}:{what}".encode())

    def _tell_once(self, what: str, why: str) -> None:
        if what not in self._told:
            self._told.add(what)
            log.warning(what, error=why)
