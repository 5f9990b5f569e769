"""The Python client: one conversation over a connection that mends itself, and the HTTP routes beside it."""

from chatbox.client.api import Api, Conversation, SessionInfo, Sessions
from chatbox.client.client import ChatClient
from chatbox.client.events import (
    Ack,
    Answer,
    Connected,
    Disconnected,
    Event,
    HelpNews,
    Loading,
    Message,
    Notice,
    Piece,
    Problem,
    Reset,
    StaffJoined,
    StaffLeft,
    Typing,
)

__all__ = [
    "Ack",
    "Answer",
    "Api",
    "ChatClient",
    "Connected",
    "Conversation",
    "Disconnected",
    "Event",
    "HelpNews",
    "Loading",
    "Message",
    "Notice",
    "Piece",
    "Problem",
    "Reset",
    "SessionInfo",
    "Sessions",
    "StaffJoined",
    "StaffLeft",
    "Typing",
]
