"""The contract of a store.

A store keeps sessions and their logs. It is the truth: what it has acknowledged survives the process and, for a
durable store, the machine; what it has not acknowledged did not happen.

- **Commit before return.** ``append`` returns after the entry is durable. Calls made at once share one flush.
- **Positions.** The store alone gives an entry its ``index``: last index + 1, without holes, unique in its session.
  An entry and what it changes in its session (``chatbox.session.apply``) become visible together.
- **Idempotency.** (session, message_id) is unique for ever. A second append of the same id stores nothing and returns
  the first entry with ``fresh=False``; comparing the contents is the caller's business. The id is looked at first: a
  repeat is never ``Fenced``.
- **Fencing.** An append that shows a ``fence`` is refused with ``Fenced`` unless the session's fence equals it and the
  session has a running answer; or, when it takes a turn, has none. Taking a turn while another is running is ``Fenced``
  without a fence too.
- **Whose session it is.** ``Change.joins`` gives a session to a member of staff and raises the fence. It is ``Fenced``
  while an answer is running, and while another one has the session, unless the change is made ``by`` that one. While
  staff have a session no turn can be taken. An entry whose ``by`` is not who has the session is ``Fenced``.
- **One active session a user.** An append with ``active=True`` closes the open period of the user's other session, at
  that one's last activity, in the same commit. Every closed period is kept.
- **Missing things.** ``get`` and ``partial`` return None; ``append`` and ``keep`` to a session that does not exist
  raise ``NotFound``; ``delete`` of it does nothing.
- **One session without entries a user.** ``create`` gives back the one that there is, so of calls made at once, in any
  number of processes, all get the same. If there is none, an id that exists is a ``StorageError``.
- **Failure.** ``StorageBusy``: try again. Other ``StorageError``: don't. A call that fails changes nothing. But across
  a network one that failed as ``StorageBusy`` may have happened, when its answer got lost: a repeated ``append`` with
  its message_id finds out.
- **Cancellation.** A cancelled call may or may not have happened; a repeated ``append`` with its message_id finds out.
- **Lists** (``find``) may for a moment lag behind what other processes append; ``get``, ``read`` and ``append`` don't.
- **Sessions without entries** exist (``get``, ``append``) but are in no list unless ``SessionQuery.empty`` asks for
  them.

The memory store is the specification; one suite of tests runs over every store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import msgspec

from chatbox.errors import Fenced
from chatbox.session import Change, Entry, Session, Takeover
from chatbox.storage.overview import Overview, Tally
from chatbox.storage.records import Record, Records

AI = ""
"""Whose a session is that no member of staff has."""


class Appended(msgspec.Struct, frozen=True):
    """An entry as stored, and the session after it. ``fresh`` is false when the id was there before.

    ``closed`` are the ids of the user's other sessions whose open period this entry closed.
    """

    entry: Entry
    session: Session
    fresh: bool
    closed: tuple[str, ...] = ()


class Partial(msgspec.Struct, frozen=True):
    """The text so far of an answer that is not stored yet."""

    session_id: str
    answer_id: str
    fence: int
    content: str


class SessionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions, newest activity first (ties by id, descending). None means any.

    ``before`` = (last_activity, id) continues a page. ``idle_since`` (ms): last activity before it.
    ``answering``: has (or had, when its process died) a running answer. ``empty``: true only sessions without entries,
    false only those with. ``assisted``: a member of staff has it. ``waiting``: a person was asked for and has not come.
    ``share_token`` finds the session that a link shows; where tokens are stored encrypted, the
    ``share_hashes`` under each key do.
    """

    user_id: str | None = None
    active: bool | None = None
    answering: bool | None = None
    empty: bool | None = False
    assisted: bool | None = None
    waiting: bool | None = None
    idle_since: int | None = None
    share_token: str | None = None
    share_hashes: tuple[str, ...] | None = None
    before: tuple[int, str] | None = None
    limit: int = 100


class Storage(ABC):
    """See the module's text for the guarantees. Opened and closed by ``async with``."""

    @abstractmethod
    async def create(self, session: Session) -> Session:
        """The user's session without entries: the one that there is, or else this one. Durable on return."""

    @abstractmethod
    async def get(self, session_id: str) -> Session | None:
        """The session as of its newest entry."""

    @abstractmethod
    async def find(self, query: SessionQuery) -> list[Session]:
        """Sessions that match, newest activity first, at most ``query.limit``."""

    @abstractmethod
    async def append(self, entry: Entry, change: Change | None = None, *, fence: int | None = None) -> Appended:
        """Commit one entry with what it changes. Raises ``NotFound``, ``Fenced``, ``StorageError``."""

    @abstractmethod
    async def read(
        self, session_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[Entry]:
        """Entries with ``after < index < before``, ascending. Given ``before``, the *last* ``limit`` of them; else the
        first. Of a session that does not exist: none."""

    @abstractmethod
    async def keep(self, partial: Partial) -> None:
        """Replace the kept text of the running answer. Raises ``Fenced`` when it is not running under that fence.
        Appending the entry that ends the turn drops it."""

    @abstractmethod
    async def partial(self, session_id: str) -> Partial | None:
        """The kept text of the session's running answer."""

    @abstractmethod
    async def delete(self, session_id: str, *, last_index: int | None = None) -> bool:
        """Remove a session and all its rows, for good; given ``last_index``, only if that is still its newest entry's.
        Returns false if it stays."""

    @abstractmethod
    async def usage(self, user_id: str, day: str) -> int:
        """Tokens that this user's answers used on a UTC day (``2026-11-21``), deleted sessions included. Days more than
        a year ago may be forgotten."""

    @property
    @abstractmethod
    def records(self) -> Records:
        """What is kept beside the conversations. It is there before the store is open."""

    @property
    @abstractmethod
    def overview(self) -> Overview:
        """What staff see of all sessions. It is there before the store is open."""

    @abstractmethod
    async def check(self) -> None:
        """Write and read something. Raises ``StorageError`` when the store can't."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(  # noqa: B027 - a store that holds nothing open has nothing to close
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Flush and close. Calls to a durable store after it raise ``StorageBusy``."""


class Cell(msgspec.Struct, frozen=True):
    """One sealed value where it lies. All but ``value`` is what the seal is bound to. Of a record, which is in no
    session, ``session_id`` is the kind."""

    table: str
    row: str
    session_id: str
    column: str
    value: str


class Renewal(msgspec.Struct, frozen=True):
    """A cell's new value. ``share_hash`` goes with a share token."""

    cell: Cell
    value: str
    share_hash: str | None = None


SEALED = "sealed"
"""The only key of a mapping whose value is sealed as a whole."""


class Cells(ABC):
    """Sealed values that can be walked and replaced in place, for key rotation.

    A sealed value is text that begins with ``prefix`` exactly if it was sealed under the key that the prefix names.
    A mapping is sealed as ``{SEALED: text}``. Empty texts and mappings are never sealed, except contents.
    """

    @abstractmethod
    def stale(self, prefix: str, batch: int) -> AsyncIterator[list[Cell]]:
        """All values that do not begin with ``prefix``, in lists of about ``batch``. Rows that come or change meanwhile
        may be in it or not. Holds no lock and no snapshot between two lists."""

    @abstractmethod
    async def rewrite(self, renewals: Sequence[Renewal]) -> int:
        """Replace each value that is still what it was read as; durable on return. Returns how many."""

    @abstractmethod
    async def key_checks(self) -> dict[str, str]:
        """For each key id that sealed something here, a known text sealed under it."""

    @abstractmethod
    async def replace_key_checks(self, checks: Mapping[str, str]) -> None:
        """Keep these key checks and no others; durable on return."""


class Copy(msgspec.Struct, frozen=True):
    """What a store holds of a session beside its entries. ``periods`` are the closed ones, (start, end) in their order;
    ``partial`` is the kept text of the running answer, ``takeovers`` those that have ended, in their order."""

    session: Session
    periods: tuple[tuple[int, int], ...] = ()
    partial: Partial | None = None
    takeovers: tuple[Takeover, ...] = ()


class Spent(msgspec.Struct, frozen=True, order=True):
    """Tokens that a user's answers used on a day."""

    user_id: str
    day: str
    tokens: int


class Counted(msgspec.Struct, frozen=True):
    """What was counted in a minute or an hour: ``width`` ms from ``at`` on."""

    width: int
    at: int
    tally: Tally

    @property
    def place(self) -> tuple[int, int]:
        return self.width, self.at


class Source(ABC):
    """What a store holds, to be copied into another one. Sealed values come as they are stored."""

    @abstractmethod
    async def sizes(self) -> tuple[int, int]:
        """About how many sessions and entries there are."""

    @abstractmethod
    async def copies(self, after: str, limit: int) -> list[Copy]:
        """The next sessions in the order of their ids, those without entries included."""

    @abstractmethod
    async def spent(self, after: tuple[str, str], limit: int) -> list[Spent]:
        """The next usages in the order of (user_id, day)."""

    @abstractmethod
    async def counted(self, after: tuple[int, int], limit: int) -> list[Counted]:
        """The next minutes and hours in which something was counted, in the order of (width, at)."""

    @abstractmethod
    async def recorded(self, after: tuple[str, str], limit: int) -> list[Record]:
        """The next records in the order of (kind, id)."""


class CellStorage(Storage, Cells, Source, ABC):
    """A store that can lie under the encrypting one."""


class Target(CellStorage, ABC):
    """A store that takes over what another one holds; the store itself does not open before that is finished.

    Everything may be done twice.
    """

    @abstractmethod
    async def begin(self, origin: str) -> str:
        """Make ready to take what is at ``origin``. Returns up to which session that was done before, or "". Raises
        ``StorageError`` when the store holds something else."""

    @abstractmethod
    async def put(self, copies: Sequence[Copy]) -> None:
        """Store sessions, each in the place of the one with its id. What can't be beside it is removed: a user has only
        one active and one empty session."""

    @abstractmethod
    async def put_entries(self, entries: Sequence[Entry]) -> None:
        """Store entries at the places that they have, unless these are taken."""

    @abstractmethod
    async def reached(self, session_id: str) -> None:
        """Remember that everything up to this session is there."""

    @abstractmethod
    async def put_spent(self, spent: Sequence[Spent]) -> None:
        """Store usages, each in the place of what there is of its user and day."""

    @abstractmethod
    async def put_counted(self, counted: Sequence[Counted]) -> None:
        """Store what was counted, each in the place of what there is of its time."""

    @abstractmethod
    async def put_recorded(self, records: Sequence[Record]) -> None:
        """Store records, each in the place of the one with its kind and id."""

    @abstractmethod
    async def finish(self) -> None:
        """From now on the store opens."""


def admit(session: Session, change: Change, fence: int | None) -> None:
    """The rule of fencing, the same in every store. Raises ``Fenced``."""
    admit_owner(session, change)
    if fence is not None and session.fence != fence:
        raise Fenced(f"fence {fence} was shown, the session's is {session.fence}")
    if change.takes_turn is not None and session.answer_id is not None:
        raise Fenced("another answer is running")
    if fence is not None and change.takes_turn is None and session.answer_id is None:
        raise Fenced("no answer is running")


def admit_owner(session: Session, change: Change) -> None:
    """Only who has the session acts in it, and staff take it only between answers. Raises ``Fenced``."""
    owner = session.assisting_admin_id or AI
    if change.by is not None and change.by != owner:
        raise Fenced(f"the session is {owner or 'the AI'}'s")
    if change.takes_turn is not None and owner:
        raise Fenced(f"the session is {owner}'s")
    if change.joins is not None and session.answer_id is not None:
        raise Fenced("an answer is running")
    if change.joins is not None and owner and change.by is None:
        raise Fenced(f"the session is {owner}'s")


def admit_partial(session: Session, partial: Partial) -> None:
    """Only the running answer, under its fence, keeps its text. Raises ``Fenced``."""
    if (session.fence, session.answer_id) != (partial.fence, partial.answer_id):
        raise Fenced(f"answer {partial.answer_id} is not running under fence {partial.fence}")


def period_closed(before: Session, after: Session) -> tuple[int, int] | None:
    """The period, (start, end), that ends with a change of its session."""
    if after.is_active or not before.is_active:
        return None
    return before.last_activity if before.opened_at is None else before.opened_at, after.last_activity
