"""Hits in columns: what is written comes back, however many different values there are."""

from __future__ import annotations

import subprocess
import sys
import zlib

import numpy as np
import pytest

from tracker.events import Kind, Verdict
from tracker.stores.columns import BUCKET, FIELDS, LINK, PLACE, WHAT, Columns, Tally, digest, write
from tracker.stores.packs import Asked
from tracker.stores.values import Dimension

pytestmark = pytest.mark.any_database

CLICK = (int(Kind.CLICK) << 4 | int(Verdict.COUNTED)) << 2
ANY = Asked(None, {}, (), False)


def hits(many: int, *, links: int = 1, browsers: int = 1) -> np.ndarray:
    made = np.zeros((many, FIELDS), np.int64)
    made[:, BUCKET] = np.arange(many) % 3
    made[:, WHAT] = CLICK
    made[:, LINK] = 1 + np.arange(many) % links
    made[:, PLACE[Dimension.BROWSER]] = 2_000_000_000 + np.arange(many) % browsers
    return made


@pytest.mark.parametrize("links", [1, 256, 257, 65_537])
def test_what_is_written_comes_back(links: int) -> None:
    made = hits(70_000, links=links, browsers=300)
    columns = Columns(write(made, 5), 5)
    assert columns.sizes.tolist() == [23_334, 23_333, 23_333, 0, 0]
    assert digest(columns.hits()) == digest(made)
    assert digest(columns.hits()) != digest(made + 1)
    tally = Tally(ANY._replace(links=frozenset({links})))
    tally.add(write(made, 5), 96, 101, (97, 99))
    (cells, quarters) = tally.counters()
    wanted = made[(made[:, LINK] == links) & (made[:, BUCKET] > 0)]
    assert cells == {links << 9 | CLICK: len(wanted)}
    assert quarters == {
        (96 + bucket) << 7 | CLICK >> 2: n for bucket, n in enumerate(np.bincount(wanted[:, BUCKET]).tolist()) if n
    }


def test_like_hits_take_hardly_any_room() -> None:
    assert len(write(hits(100_000), 96)) < 2_000


def test_sums_of_many_packs_are_added_up_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.stores.columns.PENDING_MAX", 1)
    tally = Tally(ANY._replace(dimensions=(Dimension.BROWSER, Dimension.COUNTRY)))
    for _ in range(3):
        tally.add(write(hits(10, browsers=2), 3), 0, 3, (0, 3))
    _, _, browsers, countries = tally.counters()
    assert sorted(browsers.values()) == [15, 15]
    assert countries == {}


def test_a_pack_of_another_version_or_a_torn_one_is_refused() -> None:
    pack = write(hits(10), 3)
    for wrong in (b"\x09" + pack[1:], pack[:-1]):
        with pytest.raises((ValueError, zlib.error), match=r"version|incomplete"):
            Columns(wrong, 3)


def test_numpy_is_loaded_where_packs_are_and_nowhere_else() -> None:
    loaded = "import sys, tracker.cli, tracker.server; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0
