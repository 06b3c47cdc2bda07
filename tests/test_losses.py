"""What the disk refused: noted in a place made beforehand, summed over writers, gone after a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracker import losses
from tracker.losses import Losses, Note

pytestmark = pytest.mark.any_database


def test_notes_are_summed_whether_their_writers_live_or_not(tmp_path: Path) -> None:
    assert losses.read(tmp_path) == Losses()
    gone, living = Note(tmp_path), Note(tmp_path)
    gone.add(3, 2000)
    gone.add(1, 5000)
    gone.close()
    living.add(2, 1000)
    assert losses.read(tmp_path) == Losses(6, 1000, 5000)
    living.close()


def test_a_note_that_says_nothing_goes_with_its_writer(tmp_path: Path) -> None:
    note = Note(tmp_path)
    note.close()
    assert list((tmp_path / losses.FOLDER).iterdir()) == []


def test_old_notes_go_and_those_of_living_writers_stay(tmp_path: Path) -> None:
    old, new, living = Note(tmp_path), Note(tmp_path), Note(tmp_path)
    old.add(1, 1000)
    new.add(1, 2000)
    old.close()
    new.close()
    losses.tidy(tmp_path, losses.KEPT_MS + 1500)
    assert losses.read(tmp_path) == Losses(1, 2000, 2000)
    living.add(5, 3000)
    assert losses.read(tmp_path).n == 6
    living.close()


def test_where_no_note_can_be_made_losses_are_counted_all_the_same(tmp_path: Path) -> None:
    (tmp_path / losses.FOLDER).write_text("in the way")
    note = Note(tmp_path)
    note.add(4, 1000)
    assert note.losses.n == 4
    note.close()


def test_a_note_cut_short_says_nothing(tmp_path: Path) -> None:
    (tmp_path / losses.FOLDER).mkdir()
    (tmp_path / losses.FOLDER / "x").write_bytes(b"12")
    assert losses.read(tmp_path) == Losses()
