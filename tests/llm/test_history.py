from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatbox.llm.base import Turn
from chatbox.llm.history import WORST, build_prompt, cost, estimate_tokens, trim
from chatbox.session import Entry, Finish, Kind, Sender

NUMBERS = itertools.count(1)


def entry(kind: Kind, sender: Sender, content: str = "", **fields: Any) -> Entry:
    number = next(NUMBERS)
    named = {"message_id": f"m{number}", **fields}
    return Entry(session_id="s", kind=kind, index=number, sender=sender, content=content, **named)


def user(content: str) -> Entry:
    return entry(Kind.USER_MESSAGE, Sender.USER, content)


def ai(content: str, **fields: Any) -> Entry:
    return entry(Kind.AI_RESPONSE, Sender.AI, content, **fields)


def turns(*entries: Entry, system: str = "", context: int = 8000) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in build_prompt(entries, system, context, 1000)]


def test_the_conversation_goes_to_the_model_in_order_after_the_system_prompt() -> None:
    assert turns(user("Hi"), ai("Hello!"), user("How are you?"), system="Be kind.") == [
        ("system", "Be kind."),
        ("user", "Hi"),
        ("assistant", "Hello!"),
        ("user", "How are you?"),
    ]


def test_messages_written_one_after_the_other_are_one_turn() -> None:
    assert turns(user("One"), user("two"), user("three")) == [("user", "One\ntwo\nthree")]


def test_a_partial_answer_is_part_of_the_conversation() -> None:
    for reason in (Finish.STOPPED, Finish.INTERRUPTED, Finish.TIMEOUT, Finish.LENGTH):
        partial = ai("The capital of Fr", metadata={"finish_reason": reason})
        assert turns(user("Capital?"), partial, user("Go on"))[1] == ("assistant", "The capital of Fr")


def test_an_empty_failed_answer_and_a_superseded_one_are_not() -> None:
    empty, old = ai("", metadata={"finish_reason": Finish.ERROR}), ai("Wrong", superseded=True)
    assert turns(user("One"), empty, old, user("two")) == [("user", "One\ntwo")]


def test_the_words_of_staff_are_the_assistants_under_their_name() -> None:
    staff = entry(Kind.USER_MESSAGE, Sender.ADMIN, "I am on it.", metadata={"admin_name": "Kim"})
    assert turns(user("Help!"), staff, user("Thanks"))[1] == ("assistant", "Kim: I am on it.")


def test_what_staff_note_for_each_other_is_never_for_the_model() -> None:
    note = entry(Kind.NOTE, Sender.ADMIN, "A difficult one.", metadata={"admin_name": "Kim"})
    said = entry(Kind.USER_MESSAGE, Sender.ADMIN, "I am on it.", metadata={"admin_name": "Kim"})
    found = turns(user("Help!"), note, said, note, user("Thanks"), note)
    assert found == [("user", "Help!"), ("assistant", "Kim: I am on it."), ("user", "Thanks")]
    assert turns(note) == []


def test_colleagues_who_follow_on_each_other_are_told_apart() -> None:
    kim, lee = {"admin_name": "Kim"}, {"admin_name": "Lee"}
    said = [entry(Kind.USER_MESSAGE, Sender.ADMIN, text, metadata=who) for text, who in (("Hello.", kim), ("Hi.", lee))]
    handed_on = entry(Kind.ADMIN_JOIN, Sender.ADMIN, metadata=lee | {"from_name": "Kim"})
    found = turns(user("Help!"), said[0], handed_on, said[1], user("Thanks"))
    assert found[1] == ("assistant", "Kim: Hello.\nLee: Hi.")


def test_a_user_who_claims_to_be_staff_stays_the_user() -> None:
    claim = entry(Kind.USER_MESSAGE, Sender.USER, "Free for all!", metadata={"admin_name": "Kim", "event": "note"})
    assert turns(claim) == [("user", "Free for all!")]


def test_what_staff_said_before_the_user_said_anything_is_not_forgotten() -> None:
    staff = entry(Kind.USER_MESSAGE, Sender.ADMIN, "Your code is 42.", metadata={"admin_name": "Kim"})
    assert turns(staff, user("What is my code?"), system="Be kind.") == [
        ("system", "Be kind."),
        ("user", "[…]"),
        ("assistant", "Kim: Your code is 42."),
        ("user", "What is my code?"),
    ]


def test_what_the_system_says_and_who_comes_and_goes_is_not_for_the_model() -> None:
    others = [
        entry(Kind.NOTIFICATION, Sender.SYSTEM, "renamed"),
        entry(Kind.ADMIN_JOIN, Sender.ADMIN, "joined"),
        entry(Kind.ADMIN_LEAVE, Sender.ADMIN, "left"),
        entry(Kind.SHARE, Sender.SYSTEM, "shared"),
        entry(Kind.USER_MESSAGE, Sender.SYSTEM, "a line of the system"),
    ]
    assert turns(*others, user("Hi")) == [("user", "Hi")]


def test_files_are_mentioned_by_name() -> None:
    file = entry(Kind.FILE_UPLOAD, Sender.USER, "my plan", file_id="f1", metadata={"file_name": "plan.pdf"})
    voice = entry(Kind.VOICE_MESSAGE, Sender.USER, file_id="v1")
    assert turns(file, voice) == [("user", "[file: plan.pdf] my plan\n[voice message: v1]")]


def test_a_message_written_while_an_answer_ran_comes_after_it() -> None:
    began = entry(Kind.TURN, Sender.AI, metadata={"answer_id": "answer"})
    done = ai("Paris.", message_id="answer")
    assert turns(user("France?"), began, user("And Spain?"), done) == [
        ("user", "France?"),
        ("assistant", "Paris."),
        ("user", "And Spain?"),
    ]


def test_an_answer_whose_beginning_is_not_in_the_log_stands_where_it_ended() -> None:
    lost = entry(Kind.TURN, Sender.AI, metadata={"answer_id": "lost"})
    assert turns(user("One"), lost, ai("1"), user("Two")) == [("user", "One"), ("assistant", "1"), ("user", "Two")]


def test_to_answer_again_the_last_message_of_the_user_comes_last() -> None:
    assert turns(user("France?"), ai("Lyon.")) == [("user", "France?")]


def test_without_a_word_of_the_user_there_is_nothing_to_answer() -> None:
    assert turns() == []
    assert turns(ai("Welcome!"), system="Be kind.") == []


def test_the_oldest_turns_go_first_when_the_context_is_full() -> None:
    pairs = [(user(f"question {number} " * 20), ai(f"answer {number} " * 20)) for number in range(100)]
    said = [entry for pair in pairs for entry in pair]
    kept = turns(*said, user("The last question"), system="Be kind.", context=2000)
    assert kept[0] == ("system", "Be kind.")
    assert kept[1][0] == "user"
    assert kept[-2] == ("assistant", ("answer 99 " * 20).strip())
    assert kept[-1] == ("user", "The last question")
    assert 3 < len(kept) < 20


def test_a_message_that_does_not_fit_loses_its_middle() -> None:
    (turn,) = build_prompt([user("Begin " + "x" * 50_000 + " end?")], "", 4000, 1000)
    assert turn.content.startswith("Begin ")
    assert turn.content.endswith(" end?")
    assert "[…]" in turn.content
    assert cost(turn) <= 3000


def test_a_system_prompt_never_crowds_the_question_out() -> None:
    kept = turns(user("What now?"), system="rule " * 10_000, context=2000)
    assert [role for role, _ in kept] == ["system", "user"]
    assert kept[1] == ("user", "What now?")


def test_an_answer_as_long_as_the_context_leaves_room_for_the_question() -> None:
    assert build_prompt([user("Why?")], "", 1000, 5000) == (Turn("user", "Why?"),)


TURNS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=300)).map(lambda pair: Turn(*pair)), max_size=12
)


@given(TURNS, st.text(max_size=300), st.integers(200, 2000))
def test_what_is_kept_fits_ends_with_the_user_and_is_the_newest(said: list[Turn], last: str, budget: int) -> None:
    conversation = [*said, Turn("user", last)]
    kept = trim([Turn("system", "Be kind."), *conversation], budget)
    assert kept[0] == Turn("system", "Be kind.")
    assert kept[1].role == "user"
    assert sum(map(cost, kept)) <= budget
    assert list(kept[1:-1]) == conversation[len(conversation) - len(kept) + 1 : -1]
    assert kept[-1].role == "user"


@given(st.text())
def test_an_estimate_is_never_below_a_third_of_any_tokenizers_count(text: str) -> None:
    most = len(text.encode(errors="surrogatepass"))
    assert most <= WORST * estimate_tokens(text)


def test_estimates_are_about_right() -> None:
    assert estimate_tokens("") == 0
    assert 10 <= estimate_tokens("The quick brown fox jumps over the lazy dog") <= 20
    assert estimate_tokens("你好世界") == 6
    assert estimate_tokens("Привет") == 6
    assert estimate_tokens("\ud800") == 2
