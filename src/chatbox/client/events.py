"""What a client is told. Events come in the order of the session's log, each position once."""

from __future__ import annotations

import msgspec

from chatbox.protocol import Model


class Ack(msgspec.Struct, frozen=True):
    """The server has stored it, at this position."""

    message_id: str
    seq: int


class Connected(msgspec.Struct, frozen=True, kw_only=True):
    """A socket is open. ``resumed``: the same conversation goes on without a gap, and what was missed comes next.

    ``staff_name`` is who has the conversation at this moment, None while the AI does; ``help_email`` is where an answer
    can be sent when nobody comes.
    """

    session_id: str
    user_id: str
    models: tuple[Model, ...]
    model_id: str | None
    help_state: str
    resumed: bool
    staff_name: str | None = None
    help_email: str | None = None


class Disconnected(msgspec.Struct, frozen=True):
    """The connection was lost, or could not be made; another attempt follows in ``retry_in`` seconds or so."""

    reason: str
    retry_in: float


class Reset(msgspec.Struct, frozen=True):
    """Forget the conversation: what the server has follows from its beginning. Stored rows were lost (``epoch``), or
    the session is not there any more and another one has taken its place (``session``)."""

    reason: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What a person said or sent. ``own``: through this client. ``timestamp`` is RFC 3339, empty when ``own``."""

    message_id: str
    seq: int
    sender: str
    content: str = ""
    own: bool = False
    timestamp: str = ""
    model_id: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    metadata: dict[str, str] = {}


class Loading(msgspec.Struct, frozen=True):
    """An answer begins. ``replaces`` is the id of the answer that it takes the place of."""

    message_id: str
    replaces: str | None = None


class Piece(msgspec.Struct, frozen=True):
    """The next piece of an answer's text."""

    message_id: str
    text: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A stored answer. ``content`` is the whole text and counts more than the pieces before it."""

    message_id: str
    seq: int
    content: str
    finish_reason: str
    tokens: int = 0
    replaces: str | None = None
    superseded: bool = False
    timestamp: str = ""
    model_id: str | None = None
    metadata: dict[str, str] = {}


class StaffJoined(msgspec.Struct, frozen=True):
    """A member of staff has taken over; the AI is silent. ``from_name`` is the colleague who handed the conversation
    on, None when the AI had it."""

    name: str
    seq: int
    from_name: str | None = None


class StaffLeft(msgspec.Struct, frozen=True):
    """The AI answers again. ``reason``: they ``left``, were ``released`` by a colleague, were ``away`` for too long, or
    the conversation was ``ended``."""

    name: str
    seq: int
    reason: str = "left"


class HelpNews(msgspec.Struct, frozen=True, kw_only=True):
    """News of a call for help, which then stands at ``state``: ``none``, ``asked`` (nobody has been told yet), ``told``
    or ``joined``. ``StaffJoined`` and ``StaffLeft`` end a call too, without other news.

    ``at`` is when staff were told; ``open`` is false outside their hours, and ``opens_at`` when these begin, if that is
    known (RFC 3339). ``email`` is where an answer can be sent, ``content`` what the user said about it. ``seq`` is None
    for what was told before.
    """

    state: str
    at: str | None = None
    open: bool = True
    opens_at: str | None = None
    email: str | None = None
    content: str = ""
    seq: int | None = None


class Typing(msgspec.Struct, frozen=True):
    """Someone else is typing: ``user`` (another device), or ``admin`` with their ``name``."""

    sender: str
    name: str = ""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something else happened: ``session_renamed``, ``model_changed``, ``session_ended``, ``token_expiring``, …

    ``seq`` is None for what is not part of the log. ``metadata`` says more, for example the new ``name``.
    """

    event: str
    content: str = ""
    metadata: dict[str, str] = {}
    seq: int | None = None


class Problem(msgspec.Struct, frozen=True):
    """The server could not do something. ``message_id`` is the frame's or the answer's that it is about, if any.

    What a method of this client waits for is raised there instead, unless it will be tried again after ``retry_after``
    milliseconds.
    """

    code: str
    message: str
    recoverable: bool
    retry_after: int | None
    message_id: str


Event = (
    Connected
    | Disconnected
    | Reset
    | Message
    | Loading
    | Piece
    | Answer
    | StaffJoined
    | StaffLeft
    | HelpNews
    | Typing
    | Notice
    | Problem
)
