"""The staff socket on a real server."""

import pytest

from tests.live import running, token
from tests.staff.desks import desk, refused


@pytest.fixture
async def live(tmp_path):
    async with running(tmp_path) as live:
        yield live


async def asked(ann, text="Hello"):
    """A question of a user that has been answered; the session's id."""
    status = await ann.next("connection_status")
    await ann.say("user_message", content=text, message_id="q")
    await ann.answer()
    return status["session_id"]


async def test_the_first_frame_says_who_is_there_and_who_waits(live):
    async with desk(live, "cy"), desk(live) as bea:
        first = await bea.hear("staff_status")
        assert bea.frames[0] is first
        assert (first["user_id"], first["metadata"]) == ("bea", {"name": "Bea", "role": "chat_admin"})
        assert first["staff"] == [{"id": "bea", "name": "Bea"}, {"id": "cy", "name": "Cy"}]
        assert (first["sessions"], first["total"]) == ([], 0)


async def test_a_conversation_is_watched_taken_over_spoken_in_and_given_back(live):
    async with live.socket() as ann, desk(live) as bea:
        session_id = await asked(ann)
        status = await bea.watch(session_id)
        assert status["type"] == "connection_status"
        assert [(m["sender"], m["content"]) for m in status["messages"][:1]] == [("user", "Hello")]
        assert (await bea.ask("admin_join", session_id=session_id))["type"] == "ack"
        assert (await ann.next("admin_join"))["metadata"]["admin_name"] == "Bea"
        assert (await bea.ask("user_message", session_id=session_id, content="I am here."))["type"] == "ack"
        heard = await ann.next("user_message")
        assert (heard["sender"], heard["content"]) == ("admin", "I am here.")
        await ann.say("user_message", content="Good.", message_id="q2")
        said = await bea.hear(lambda frame: frame.get("message_id") == "q2")
        assert (said["type"], said["sender"]) == ("user_message", "user")
        assert (await bea.ask("admin_leave", session_id=session_id))["type"] == "ack"
        await ann.next("admin_leave")
        await ann.answer()


@pytest.mark.parametrize(("head", "status"), [({}, 401), ({"Authorization": "Bearer x"}, 401)])
async def test_without_a_good_token_the_handshake_is_refused(live, head, status):
    assert await refused(live, **head) == status


async def test_without_the_role_the_handshake_is_refused(live):
    for roles in ((), ("user", "Admin", "admins")):
        assert await refused(live, Authorization=f"Bearer {token('ann', roles=roles)}") == 403
