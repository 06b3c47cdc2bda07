"""So many turns a minute, however many processes ask, and never for ever."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracker import allowance

pytestmark = pytest.mark.any_database

NOW = 1_800_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "turns.json"


def test_turns_run_out_and_come_back_one_by_one(path: Path) -> None:
    assert [allowance.take(path, 1, 3, NOW + n * 1000) for n in range(3)] == [0, 0, 0]
    assert allowance.take(path, 1, 3, NOW + 10_000) == 50_000
    assert allowance.take(path, 1, 3, NOW + 60_000) == 0
    assert allowance.take(path, 1, 3, NOW + 60_000) == 1000


def test_everybody_has_turns_of_their_own(path: Path) -> None:
    assert allowance.take(path, 1, 1, NOW) == 0
    assert allowance.take(path, 2, 1, NOW) == 0
    assert allowance.take(path, 1, 1, NOW) > 0


def test_the_file_holds_the_last_minute_only(path: Path) -> None:
    for who in range(50):
        allowance.take(path, who, 1, NOW)
    allowance.take(path, 99, 1, NOW + 60_000)
    assert json.loads(path.read_text()) == {"99": [NOW + 60_000]}


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"1": 5}', '{"1": ["x"]}', "null"])
def test_a_damaged_file_is_begun_anew(path: Path, text: str) -> None:
    path.write_text(text)
    assert allowance.take(path, 1, 1, NOW) == 0
    assert allowance.take(path, 1, 1, NOW) > 0


def test_a_clock_that_was_put_back_keeps_nobody_out(path: Path) -> None:
    assert allowance.take(path, 1, 1, NOW + 10**9) == 0
    assert allowance.take(path, 1, 1, NOW) == 0
