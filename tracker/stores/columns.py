"""Hits of one campaign in columns: how a pack is written, and how those that are selected are counted.

A pack's hits lie in the order of their quarters, and within one so that like stands beside like. Values that go
together in life, as a device, its system and its browser do, share a column: of their combinations there are few, so a
byte mostly holds which one it is. Each column is the list of its combinations and their numbers, low bytes first. All
are compressed together, by runs and by how often a byte comes; to look for longer repetitions costs time and finds few.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import CursorResult

from tracker.stores import bits
from tracker.stores.packs import Asked, Counted
from tracker.stores.values import Dimension

Ints = npt.NDArray[np.integer[Any]]

VERSION = b"\x01"  # of how a pack is written: with another, a migration has to delete those that are there
# What is known of a hit: its quarter, counted from the run's first; kind, verdict and both flags joined; its link; the
# ids of its values, 0 for none.
BUCKET, WHAT, LINK = range(3)
FIELDS = LINK + 1 + len(Dimension)
PLACE = {dimension: LINK + int(dimension) for dimension in Dimension}
COLUMNS: tuple[tuple[int, ...], ...] = (
    (WHAT,),
    (LINK,),
    (PLACE[Dimension.REFERRER], PLACE[Dimension.CHANNEL]),
    (PLACE[Dimension.DEVICE], PLACE[Dimension.OS], PLACE[Dimension.BROWSER]),
    (PLACE[Dimension.LANGUAGE], PLACE[Dimension.COUNTRY]),
)
FLAGS = 2 * bits.FLAG
READ_AT_ONCE = 5_000
PENDING_MAX = 1_000_000  # sums of single packs, before they are added up
ID = np.dtype("<u4")


def by_campaign(found: CursorResult[Any]) -> Iterator[tuple[int, Ints]]:
    """Campaigns in their order, each with the rows that begin with it; of those the rest."""
    # The driver's own rows: to make others of them takes as long as all the rest.
    cursor: Any = found.cursor
    chunks = [np.zeros((0, 1 + FIELDS), np.int64)]
    while some := cursor.fetchmany(READ_AT_ONCE):
        flat = np.fromiter(chain.from_iterable(some), np.int64, len(some) * (1 + FIELDS))
        chunks.append(flat.reshape(len(some), 1 + FIELDS))
    table = np.concatenate(chunks)
    table = table[np.argsort(table[:, 0], kind="stable")]
    campaigns, starts = np.unique(table[:, 0], return_index=True)
    # Of nothing, one empty part is made.
    yield from zip(campaigns.tolist(), np.split(table[:, 1:], starts[1:]), strict=False)


def digest(hits: Ints) -> tuple[int, int]:
    """How many hits, and a sum that tells them from others, whatever their order."""
    ordered = hits[np.lexsort(hits.T)]
    return len(hits), zlib.crc32(ordered.astype("<i8").tobytes())


def write(hits: Ints, buckets: int) -> bytes:
    """A pack of hits, a row of FIELDS each, over a run of so many quarters."""
    coded = [_coded(hits, fields) for fields in COLUMNS]
    order = np.lexsort([numbers for _, numbers in reversed(coded)] + [hits[:, BUCKET]])
    sizes = np.bincount(hits[:, BUCKET], minlength=buckets)
    body = [sizes.astype(ID).tobytes()]
    for combinations, numbers in coded:
        width = _width(len(combinations))
        planes = numbers[order].astype(f"<u{width}").view(np.uint8).reshape(-1, width).T
        body += [np.array([len(combinations)], ID).tobytes(), combinations.astype(ID).tobytes(), planes.tobytes()]
    compressor = zlib.compressobj(memLevel=9, strategy=zlib.Z_RLE)
    return VERSION + compressor.compress(b"".join(body)) + compressor.flush()


def _coded(hits: Ints, fields: tuple[int, ...]) -> tuple[Ints, Ints]:
    """The combinations that come of some fields' values, and for each hit which one it has."""
    first, *others = fields
    values, numbers = np.unique(hits[:, first], return_inverse=True)
    combinations = values[:, np.newaxis]
    for field in others:
        several, further = np.unique(hits[:, field], return_inverse=True)
        joint, numbers = np.unique(numbers * len(several) + further, return_inverse=True)
        combinations = np.column_stack((combinations[joint // len(several)], several[joint % len(several)]))
    return combinations, numbers


def _width(combinations: int) -> int:
    """How many bytes tell so many apart."""
    return 1 if combinations <= 1 << 8 else 2 if combinations <= 1 << 16 else 4


class Columns:
    """A pack as it was written."""

    def __init__(self, pack: bytes, buckets: int) -> None:
        if pack[:1] != VERSION:
            raise ValueError("a pack of another version")
        self._body = zlib.decompress(memoryview(pack)[1:])
        self._at = 0
        self.sizes = self._take(ID, buckets)
        self.n = int(self.sizes.sum())
        self.columns = [self._column(len(fields)) for fields in COLUMNS]

    def _take(self, kind: np.dtype[Any], count: int) -> Ints:
        found: Ints = np.frombuffer(self._body, kind, count, self._at)
        self._at += found.nbytes
        return found

    def _column(self, fields: int) -> tuple[Ints, Ints]:
        count = int(self._take(ID, 1)[0])
        combinations = self._take(ID, count * fields).reshape(count, fields).astype(np.int64)
        width = _width(count)
        planes = self._take(np.dtype(np.uint8), width * self.n).reshape(width, self.n)
        numbers: Ints = planes[0]
        for place in range(1, width):
            numbers = numbers | planes[place].astype(f"<u{width}") << 8 * place
        return combinations, numbers

    def hits(self) -> Ints:
        """What was written, in the order of a pack."""
        found = np.empty((self.n, FIELDS), np.int64)
        found[:, BUCKET] = np.repeat(np.arange(len(self.sizes)), self.sizes)
        for fields, (combinations, numbers) in zip(COLUMNS, self.columns, strict=True):
            found[:, fields] = combinations[numbers]
        return found


class Tally:
    """Selected hits of packs, counted: by link, by quarter and by each dimension, all with kind and verdict."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._found: list[list[tuple[Ints, Ints]]] = [[] for _ in range(2 + len(asked.dimensions))]
        self._pending = 0

    def add(self, pack: bytes, start: int, until: int, period: tuple[int, int]) -> None:
        """Counts what a pack of the quarters from `start` to before `until` holds of a period."""
        columns = Columns(pack, until - start)
        ends = np.cumsum(columns.sizes)
        first, last = max(period[0] - start, 0), min(period[1], until) - start
        inside = slice(int(ends[first - 1]) if first else 0, int(ends[last - 1]))
        chosen = self._chosen(columns, inside)
        if chosen is None:
            return
        (whats, what_of), (links, link_of) = columns.columns[:2]
        whats = whats[:, 0]
        what = what_of[inside][chosen].astype(np.intp)
        counts = _counts(link_of[inside][chosen], what, len(links), len(whats))
        self._keep(0, links[:, 0] << (bits.KIND + bits.VERDICT + FLAGS), whats, counts)
        bucket = np.repeat(np.arange(len(columns.sizes)), columns.sizes)[inside][chosen]
        counts = _counts(bucket, what, len(columns.sizes), len(whats))
        quarters = np.arange(start, until, dtype=np.int64)
        self._keep(1, quarters << (bits.KIND + bits.VERDICT), whats >> FLAGS, counts)
        flag = whats & 1 if self._asked.of_link else whats >> 1 & 1
        kinds = (whats >> FLAGS) << 1 | flag
        for fields, (combinations, numbers) in zip(COLUMNS[2:], columns.columns[2:], strict=True):
            wanted = [each for each in self._asked.dimensions if PLACE[each] in fields]
            if wanted:
                counts = _counts(numbers[inside][chosen], what, len(combinations), len(whats))
            for dimension in wanted:
                values, sums = _of_field(counts, combinations[:, fields.index(PLACE[dimension])])
                place = 2 + self._asked.dimensions.index(dimension)
                self._keep(place, values << (bits.KIND + bits.VERDICT + bits.FLAG), kinds, sums)
        if self._pending > PENDING_MAX:
            self._add_up()

    def _chosen(self, columns: Columns, inside: slice) -> Any:
        """Which of the hits inside are selected: an index of them, all of them; `None` where there is none."""
        mask: Any = None
        for fields, (combinations, numbers) in zip(COLUMNS, columns.columns, strict=True):
            fits: Any = None
            for place, field in enumerate(fields):
                ids = self._ids(field)
                if ids is not None:
                    fit = np.isin(combinations[:, place], ids)
                    fits = fit if fits is None else fits & fit
            if fits is None:
                continue
            if not fits.any():
                return None
            found = fits[numbers[inside]]
            mask = found if mask is None else mask & found
        return slice(None) if mask is None else np.flatnonzero(mask)

    def _ids(self, field: int) -> Ints | None:
        """The ids that a field may have."""
        if field == LINK:
            return None if self._asked.links is None else np.array(sorted(self._asked.links), np.int64)
        found = [value or 0 for dimension, value in self._asked.values.items() if PLACE[dimension] == field]
        return np.array(found, np.int64) if found else None

    def _keep(self, place: int, of_value: Ints, of_what: Ints, counts: Ints) -> None:
        value, what = _nonzero(counts)
        self._found[place].append((of_value[value] | of_what[what], counts[value, what]))
        self._pending += len(value)

    def _add_up(self) -> None:
        self._found = [[_added(found)] for found in self._found]
        self._pending = sum(len(found[0][0]) for found in self._found)

    def counters(self) -> Counted:
        """As a dialect's `tally` counts raw events."""
        self._add_up()
        return [Counter(dict(zip(*map(np.ndarray.tolist, found[0]), strict=True))) for found in self._found]


def _counts(values: Ints, whats: Ints, value_n: int, what_n: int) -> Ints:
    """How often each value comes with each `what`."""
    counts = np.bincount(values.astype(np.intp) * what_n + whats, minlength=value_n * what_n)
    return counts.reshape(value_n, what_n)


def _nonzero(counts: Ints) -> tuple[Ints, Ints]:
    """As numpy finds them of two dimensions, but several times as quickly."""
    return np.divmod(np.flatnonzero(counts), counts.shape[1])


def _of_field(counts: Ints, ids: Ints) -> tuple[Ints, Ints]:
    """The counts of combinations, added up by one of their values; those without one are left out."""
    values, numbers = np.unique(ids, return_inverse=True)
    combination, what = _nonzero(counts)
    what_n = counts.shape[1]
    # As weights they are floats, which are exact up to 2^53.
    places, n = numbers[combination] * what_n + what, counts[combination, what]
    sums = np.bincount(places, n, len(values) * what_n).astype(np.int64).reshape(-1, what_n)
    sums[values == 0] = 0
    return values, sums


def _added(found: Sequence[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    """The sums of each key."""
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    keys, places = np.unique(np.concatenate([keys for keys, _ in found]), return_inverse=True)
    sums = np.zeros(len(keys), np.int64)
    np.add.at(sums, places, np.concatenate([counts for _, counts in found]))
    return keys, sums
