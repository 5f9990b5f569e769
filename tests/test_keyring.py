"""Keys: what is taken for one, and what a sealed value endures."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbox.errors import StorageCorrupt
from chatbox.keyring import Keyring, parse_key, parse_keys

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
RING = Keyring([("new", NEW), ("old", OLD)])
HERE = b"messages/m1/s1/content"


@given(plain=st.binary(max_size=300), bound=st.binary(max_size=50))
def test_what_is_sealed_opens_at_its_place(plain: bytes, bound: bytes) -> None:
    assert RING.decrypt(RING.encrypt(plain, bound), bound) == plain


@given(bound=st.binary(max_size=30), other=st.binary(max_size=30))
def test_a_moved_value_does_not_open(bound: bytes, other: bytes) -> None:
    if bound != other:
        with pytest.raises(StorageCorrupt):
            RING.decrypt(RING.encrypt(b"text", bound), other)


@given(st.data())
def test_no_character_of_a_sealed_value_can_be_changed(data: st.DataObject) -> None:
    sealed = RING.encrypt(data.draw(st.binary(max_size=40)), HERE)
    place = data.draw(st.integers(0, len(sealed) - 1))
    changed = sealed[:place] + chr(ord(sealed[place]) ^ 1 << data.draw(st.integers(0, 6))) + sealed[place + 1 :]
    with pytest.raises(StorageCorrupt):
        RING.decrypt(changed, HERE)


@given(st.data())
def test_a_cut_value_does_not_open(data: st.DataObject) -> None:
    sealed = RING.encrypt(b"What is the capital of France?", HERE)
    start, end = data.draw(st.integers(0, len(sealed))), data.draw(st.integers(0, len(sealed) - 1))
    with pytest.raises(StorageCorrupt):
        RING.decrypt(sealed[start:end], HERE)


@given(st.text())
def test_text_that_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(StorageCorrupt):
        RING.decrypt(text, HERE)


def test_no_two_seals_of_a_text_are_alike() -> None:
    assert len({RING.encrypt(b"text", HERE) for _ in range(100)}) == 100


def test_the_first_key_seals_and_every_key_opens_what_it_sealed() -> None:
    assert RING.current == "new"
    assert RING.encrypt(b"text", HERE).startswith(RING.prefix)
    assert RING.decrypt(Keyring([("old", OLD)]).encrypt(b"text", HERE), HERE) == b"text"


def test_a_value_under_an_unknown_key_id_is_refused_by_name() -> None:
    with pytest.raises(StorageCorrupt, match="'new'"):
        Keyring([("old", OLD)]).decrypt(RING.encrypt(b"text", HERE), HERE)


def test_another_key_under_the_same_id_does_not_open() -> None:
    with pytest.raises(StorageCorrupt):
        Keyring([("new", OLD)]).decrypt(RING.encrypt(b"text", HERE), HERE)


def test_a_value_is_found_by_its_hash_under_every_key() -> None:
    old = Keyring([("old", OLD)])
    assert RING.hashes("token") == (RING.hash("token"), old.hash("token"))
    assert RING.hash("token") not in {RING.hash("Token"), old.hash("token")}


@pytest.mark.parametrize(
    "text",
    [
        "k" * 32,
        OLD.hex(),
        OLD.hex().upper(),
        base64.b64encode(b"\xff" * 32).decode(),
        base64.urlsafe_b64encode(b"\xff" * 32).decode(),
    ],
)
def test_a_key_has_one_of_three_forms(text: str) -> None:
    assert len(parse_key(text)) == 32


@given(key=st.binary(min_size=32, max_size=32))
def test_hex_and_base64_give_the_same_key(key: bytes) -> None:
    assert parse_key(key.hex()) == parse_key(base64.b64encode(key).decode()) == key


@pytest.mark.parametrize("text", ["", "k" * 31, "k" * 33, "ü" * 32, "\n" * 32, "g" * 64, "é" * 64, "k" * 44, "=" * 44])
def test_anything_else_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_key(text)
    assert "openssl rand" in str(refused.value)
    assert not text or text not in str(refused.value)


def test_a_ring_is_a_list_whose_first_key_writes() -> None:
    keys = parse_keys(f"new:{NEW.hex()}, old:{base64.b64encode(OLD).decode()}")
    assert keys == [("new", NEW), ("old", OLD)]
    assert Keyring(keys).current == "new"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "entry 1 is not id:key"),
        (NEW.hex(), "entry 1 is not id:key"),
        (f"new:{NEW.hex()},", "entry 2 is not id:key"),
        (f"new:{NEW.hex()},old:short", "entry 2: the key has 5 characters"),
        (f"a:{NEW.hex()},a:{OLD.hex()}", "the same id"),
        (f":{NEW.hex()}", "a key id has"),
        (f"a.b:{NEW.hex()}", "a key id has"),
    ],
)
def test_a_wrong_ring_is_refused_and_names_the_entry_but_no_key(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        parse_keys(text)
    assert NEW.hex() not in str(refused.value)


@pytest.mark.parametrize("keys", [[], [("a", b"short")], [("a", OLD), ("a", NEW)], [("", OLD)]])
def test_a_ring_of_unusable_keys_is_refused(keys: list[tuple[str, bytes]]) -> None:
    with pytest.raises(ValueError):
        Keyring(keys)
