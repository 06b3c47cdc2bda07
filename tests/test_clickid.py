"""Click ids verify themselves and nothing else passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker import clickid
from tracker.clickid import Click, Key

pytestmark = pytest.mark.any_database

KEYS = {1: b"a" * 32, 2: b"b" * 32}


@given(
    link_id=st.integers(0, clickid.LINK_MAX), at_ms=st.integers(0, 2**42 - 1), nonce=st.integers(0, clickid.NONCE_MAX)
)
def test_an_id_says_what_it_was_made_of(link_id: int, at_ms: int, nonce: int) -> None:
    text = clickid.make(Key(2, KEYS[2]), link_id, at_ms, nonce)
    assert len(text) <= 28
    assert clickid.read(text, KEYS) == Click(link_id, at_ms, nonce)


def test_an_old_key_stays_valid_through_rotation_and_a_removed_one_does_not() -> None:
    text = clickid.make(Key(1, KEYS[1]), 7, 1_700_000_000_000, 9)
    assert clickid.read(text, KEYS) is not None
    assert clickid.read(text, {2: KEYS[2]}) is None
    assert clickid.read(text, {1: b"c" * 32}) is None


def test_every_changed_character_is_noticed() -> None:
    text = clickid.make(Key(1, KEYS[1]), 7, 1_700_000_000_000, 9)
    for place in range(len(text)):
        for letter in "A_z9":
            changed = text[:place] + letter + text[place + 1 :]
            assert changed == text or clickid.read(changed, KEYS) is None


@pytest.mark.parametrize("wrap", ["{} ", " {}", "{}\n", "{}A", "%7B{}", "{}="])
def test_an_id_is_never_trimmed_or_guessed(wrap: str) -> None:
    assert clickid.read(wrap.format(clickid.make(Key(1, KEYS[1]), 7, 1, 9)), KEYS) is None
    assert clickid.read("", KEYS) is None
    assert clickid.read("ü" * 28, KEYS) is None
    assert clickid.read("{clickid}", KEYS) is None
