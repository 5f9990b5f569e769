"""A conversation as a file."""

import json

from chatbox.session import Kind, Sender
from chatbox.transcript import as_json, as_markdown, message
from tests.storage.values import answer, entry, session

TALK = [
    entry("s", content="Grüße 👋", message_id="1", index=1, metadata={"admin_name": "Mallory"}),
    answer("s", content="", message_id="2", index=2, metadata={"finish_reason": "error"}, superseded=True),
    answer("s", content="Hel", message_id="3", index=3, metadata={"finish_reason": "stopped"}, model_id="m"),
    entry("s", content="I am here", message_id="4", index=4, sender=Sender.ADMIN, metadata={"admin_name": "Eve"}),
    entry("s", content="cat.png", message_id="5", index=5, kind=Kind.FILE_UPLOAD, file_url="https://f.example/c"),
    entry("s", kind=Kind.NOTIFICATION, message_id="6", index=6, sender=Sender.SYSTEM),
    answer("s", message_id="7", index=7),
    entry("s", message_id="8", index=8, kind=Kind.FILE_UPLOAD, file_url="https://f.example/d", sender=Sender.ADMIN),
]


def test_json_has_every_entry_and_only_the_fields_with_a_value():
    whole = json.loads(as_json(session(id="s", name="A talk"), TALK))
    assert (whole["session_id"], whole["name"], len(whole["messages"])) == ("s", "A talk", 8)
    assert whole["messages"][2]["model_id"] == "m"
    assert whole["messages"][4]["file_url"] == "https://f.example/c"
    assert set(whole["messages"][5]) == {"message_id", "seq", "content", "timestamp", "sender"}


def test_what_only_a_frames_type_would_tell_is_in_the_metadata():
    staff = {"admin_name": "Eve"}
    join = entry("s", kind=Kind.ADMIN_JOIN, message_id="1", index=1, sender=Sender.SYSTEM, metadata=staff)
    voice = entry("s", kind=Kind.VOICE_MESSAGE, message_id="2", index=2, file_id="f")
    assert message(join)["metadata"] == staff | {"event": "admin_join"}
    assert message(voice)["metadata"] == {"voice": "true"}


def test_markdown_has_what_was_said_and_nobody_can_speak_as_someone_else():
    text = as_markdown(session(id="s", name="A talk"), TALK)
    assert text.startswith("# A talk\n")
    headings = [line.split(" · ")[0] for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## You", "## Assistant", "## Eve", "## You", "## Assistant", "## Support"]
    assert "Hel\n\n*(stopped)*" in text
    assert "[cat.png](https://f.example/c)" in text
    assert "[file](https://f.example/d)" in text
    assert "*(no text)*" in text
    assert "error" not in text


def test_a_conversation_without_a_name_has_a_title_all_the_same():
    assert as_markdown(session(), []).startswith("# Conversation\n")
