"""Runs of several segments: cut at about the same instant, and cut the same when they are tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracker.events import Event, Kind, Verdict, decode, encode
from tracker.pipeline import segments
from tracker.pipeline.segments import Run

pytestmark = pytest.mark.any_database

T_MS = 1_763_700_000_000


def hit(at_ms: int) -> Event:
    return Event(Kind.CLICK, T_MS + at_ms, at_ms, Verdict.COUNTED, 1, "abc", "192.0.2.1", "", "", "", False)


LINE = len(encode(hit(100)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two workers were busy, one ten times as much."""
    (tmp_path / "a.spool").write_bytes(b"".join(encode(hit(100 + 10 * n)) for n in range(40)))
    (tmp_path / "b.spool").write_bytes(b"".join(encode(hit(100 + n)) for n in range(400)))
    return tmp_path


def instants(run: Run) -> list[int]:
    return [decode(line).at_ms - T_MS for _, line in run.lines]


def test_runs_reach_equally_far_in_time(folder: Path) -> None:
    starts, last, passes = {"a.spool": 0, "b.spool": 0}, 0, 0
    while True:
        runs, torn = segments.read_runs(folder, starts.items(), 20 * LINE)
        if not runs:
            break
        passes += 1
        together = sorted(at for run in runs for at in instants(run))
        assert together[0] >= last, "what comes later was judged before"
        last = together[-1]
        starts |= {run.segment: run.end for run in runs}
    assert torn == {"a.spool", "b.spool"}
    assert last == 499
    assert passes == 20
    assert starts == {path.name: path.stat().st_size for path in folder.glob("*.spool")}


def test_a_retry_cuts_every_run_the_same_though_more_has_come(folder: Path) -> None:
    starts = {"a.spool": 0, "b.spool": 0}
    before, _ = segments.read_runs(folder, starts.items(), 20 * LINE)
    for run in before:
        with (folder / run.segment).open("ab") as file:
            file.write(encode(hit(900)))
    assert segments.read_runs(folder, starts.items(), 50 * LINE)[0] == before
    # The first of them was stored before the others failed.
    starts["a.spool"] = before[0].end
    again, _ = segments.read_runs(folder, starts.items(), 20 * LINE)
    assert again[1] == before[1]
    assert segments.read_runs(folder, starts.items(), 90 * LINE)[0] == again


def test_clocks_that_ran_backwards_and_unreadable_lines_hold_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "a.spool").write_bytes(b"".join(encode(hit(500 - n)) for n in range(40)))
    (tmp_path / "b.spool").write_bytes(b"garbage without a checksum\n" * 40)
    starts = {"a.spool": 0, "b.spool": 0}
    for _ in range(90):
        runs, _ = segments.read_runs(tmp_path, starts.items(), 5 * LINE)
        starts |= {run.segment: run.end for run in runs}
    assert starts == {path.name: path.stat().st_size for path in tmp_path.glob("*.spool")}


def test_of_many_segments_each_has_its_turn(tmp_path: Path) -> None:
    names = [f"{number:02}.spool" for number in range(10)]
    starts, waited = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for number in range(30):
        for name in names:
            with (tmp_path / name).open("ab") as file:
                file.write(encode(hit(number)))
        taken = segments.due(tmp_path, list(starts.items()), 8)
        assert len(taken) == 8
        runs, _ = segments.read_runs(tmp_path, taken, 5 * LINE)
        starts |= {run.segment: run.end for run in runs}
        waited = {name: 0 if name in dict(taken) else n + 1 for name, n in waited.items()}
        assert max(waited.values()) <= 1


def test_a_retry_takes_the_same_segments_though_others_wait_longer(tmp_path: Path) -> None:
    names = [f"{number:02}.spool" for number in range(4)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(encode(hit(number // 2)) * 3)
    waiting = [(name, 0) for name in names]
    assert segments.due(tmp_path, waiting[:1], 2) == waiting[:1]
    taken = segments.due(tmp_path, waiting[2:], 2)
    before, _ = segments.read_runs(tmp_path, taken, 2 * LINE)
    again = segments.due(tmp_path, waiting, 2)
    assert sorted(again) == sorted(taken)
    assert segments.read_runs(tmp_path, again, 9 * LINE)[0] == before
    assert sorted(segments.due(tmp_path, waiting, 3)) == [waiting[0], *sorted(taken)]
