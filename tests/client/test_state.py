"""The state that a client had, and the events since, are the state that one gets who comes now: for every event that
there is, whatever happens in between."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from chatbox.client.mirror import Mirror
from chatbox.room import Room
from chatbox.session import Kind
from tests.client.happenings import OFTEN, SELDOM, TABS, check
from tests.mutants import found

WHAT, WHO, TURNS = st.sampled_from(OFTEN + SELDOM), st.integers(0, TABS - 1), st.sampled_from([0, 0, 1, 4, 25])
STEPS = st.lists(st.tuples(WHAT, WHO, st.integers(0, 9), TURNS), min_size=5, max_size=30)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=1200)
@given(STEPS)
def test_the_state_before_and_the_events_since_are_the_state_of_one_who_comes_now(steps):
    check(steps)


# -- defects that this has to find -------------------------------------------------------------------------------------

CHANGING = [
    "ack", "user_message", "loading", "ai_response", "file_upload", "voice_message", "admin_join", "admin_leave",
    "notification",
]  # fmt: skip


def losing(kind):
    class Losing(Mirror):
        """Takes frames of one kind as if they said nothing."""

        def receive(self, frame):
            events = super().receive(frame)
            return iter([event for event in events if frame.type != kind])

    return Losing


def doubling(kind):
    class Doubling(Mirror):
        """Tells of frames of one kind twice."""

        def receive(self, frame):
            for event in super().receive(frame):
                yield from [event] * (2 if frame.type == kind else 1)

    return Doubling


def forgetting(kind):
    class Forgetting(Room):
        """Leaves entries of one kind out of what is given to those who come back."""

        @staticmethod
        def _give(listener, entry):
            if entry.kind != kind:
                Room._give(listener, entry)
            listener.position = entry.seq

    return Forgetting


def looked_for(mirror=Mirror):
    few = settings(max_examples=1000, phases=[Phase.generate], report_multiple_bugs=False)
    few(given(STEPS)(lambda steps: check(steps, mirror)))()


@pytest.mark.parametrize("kind", CHANGING)
def test_a_client_that_loses_an_event_would_be_found(kind):
    with found():
        looked_for(losing(kind))


@pytest.mark.parametrize("kind", [kind for kind in CHANGING if kind != "loading"])
def test_a_client_that_doubles_an_event_would_be_found(kind):
    with found():
        looked_for(doubling(kind))


@pytest.mark.parametrize("kind", [Kind.USER_MESSAGE, Kind.AI_RESPONSE, Kind.FILE_UPLOAD, Kind.NOTIFICATION])
def test_a_server_that_forgets_an_event_when_a_client_comes_back_would_be_found(kind, monkeypatch):
    monkeypatch.setattr("chatbox.hub.Room", forgetting(kind))
    with found():
        looked_for()
