"""The spool's reading end: segments in order of age, whole lines only, and what must be set aside."""

from __future__ import annotations

import fcntl
import logging
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import orjson

from tracker import aside
from tracker.events import BadRecord, Event, decode

SUFFIX = ".spool"
CUT = "loader.cut"
CUT_BYTES = 4096
LINE_MAX_BYTES = 1024 * 1024

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """Whole lines of a segment from `start` to before `end`, with the offset each begins at."""

    segment: str
    start: int
    end: int
    lines: list[tuple[int, bytes]]


def names(folder: Path) -> list[str]:
    """Segments by age, the oldest first."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(SUFFIX))
    except FileNotFoundError:
        return []


def sizes(folder: Path) -> dict[str, int]:
    """Bytes in each segment. One that is finished meanwhile is left out."""
    found = {}
    for name in names(folder):
        with suppress(FileNotFoundError):
            found[name] = (folder / name).stat().st_size
    return found


def is_complete(path: Path) -> bool:
    """Whether the writer has let go: it rotated, it stopped, or it died."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def read_run(folder: Path, segment: str, start: int, bytes_max: int) -> Run | None:
    """The next run of whole lines, `bytes_max` long at most; `None` when there is none yet."""
    return _read(folder, segment, start, bytes_max, _cuts(folder).get((segment, start)))


def read_runs(folder: Path, places: Iterable[tuple[str, int]], bytes_max: int) -> tuple[list[Run], set[str]]:
    """The next run of each segment, and the segments of which no whole line is left.

    Runs reach about as far in time, so that the hits of one visitor, whom several workers met, can be judged in their
    order. Where a run ends is written down before it is first tried: a retry, also after a crash, cuts it the same.
    """
    cuts, torn = _cuts(folder), set()
    fixed, more = [], []
    for segment, start in places:
        end = cuts.get((segment, start))
        run = _read(folder, segment, start, bytes_max, end)
        if run is None:
            torn.add(segment)
        elif end is not None:
            fixed.append(run)
        else:
            more.append(run)
    runs = [*fixed, *_aligned(folder, more)]
    if len(runs) > len(fixed):
        _write_cuts(folder, runs)
    return sorted(runs), torn


def due(folder: Path, waiting: Sequence[tuple[str, int]], limit: int) -> list[tuple[str, int]]:
    """Of the places from which segments are unread, `limit` at most: those whose next event is the oldest.

    What is passed over becomes the oldest in its turn, so no writer is left behind however busy the others are. Runs
    that were cut already come first: a retry takes them again, and the place where cuts are kept has room for no more.
    """
    if len(waiting) <= limit:
        return list(waiting)
    cuts = _cuts(folder)

    def turn(place: tuple[str, int]) -> tuple[bool, int]:
        return place not in cuts, _at_ms(_line_at(folder, *place))

    return sorted(waiting, key=turn)[:limit]


def _line_at(folder: Path, segment: str, start: int) -> bytes:
    with (folder / segment).open("rb") as file:
        file.seek(start)
        return file.readline(LINE_MAX_BYTES)


def _read(folder: Path, segment: str, start: int, bytes_max: int, end: int | None) -> Run | None:
    with (folder / segment).open("rb") as file:
        file.seek(start)
        data = file.read((end - start) if end else bytes_max)
        if end is None and b"\n" not in data and len(data) == bytes_max:
            data += file.readline(LINE_MAX_BYTES)
    data = data[: data.rfind(b"\n") + 1]
    if not data:
        return None
    run = Run(segment, start, start + len(data), [])
    offset = start
    for line in data.splitlines(keepends=True):
        run.lines.append((offset, line))
        offset += len(line)
    return run


def _aligned(folder: Path, runs: list[Run]) -> list[Run]:
    """Runs cut where the first of those ends that are cut short; what comes later has its turn with what follows."""
    ends = [_at_ms(run.lines[-1][1]) for run in runs if run.end < (folder / run.segment).stat().st_size and run.lines]
    if not ends or len(runs) == 1:
        return runs
    until_ms = min(ends)
    aligned = []
    for run in runs:
        # Lines are about in the order of time: halving finds the place without reading them all.
        keep = bisect_right(run.lines, until_ms, key=lambda line: _at_ms(line[1]))
        if keep == len(run.lines):
            aligned.append(run)
        elif keep:
            aligned.append(run._replace(end=run.lines[keep][0], lines=run.lines[:keep]))
    # Where a clock ran backwards none might be left, and nothing would ever be loaded.
    return aligned or runs


def _at_ms(line: bytes) -> int:
    """When the hit of a line was; 0 where it cannot be read, which any run may take along."""
    try:
        return decode(line).at_ms
    except BadRecord:
        return 0


def _cuts(folder: Path) -> dict[tuple[str, int], int]:
    """Where the runs end that were tried last, by segment and start."""
    try:
        checksum, _, content = (folder / CUT).read_bytes().strip().partition(b" ")
        if int(checksum, 16) != crc32(content):
            return {}
        return {(segment, start): end for segment, start, end in orjson.loads(content)}
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def _write_cuts(folder: Path, runs: Iterable[Run]) -> None:
    """In its place and always as long: on a full disk there is no room for more, and only loading makes any."""
    content = orjson.dumps([run[:3] for run in runs])
    fd = os.open(folder / CUT, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, (b"%08x %b" % (crc32(content), content)).ljust(CUT_BYTES), 0)
    except OSError as error:
        # The ledger alone keeps a SQL store from storing twice; what is lost is that a retry is the same batch.
        log.warning("spool: where the batch ends is not written down: %s", error)
    finally:
        os.close(fd)


def events_of(folder: Path, run: Run) -> list[tuple[int, Event]]:
    """The events of a run with their offsets. What cannot be read is set aside."""
    found = []
    for offset, line in run.lines:
        try:
            found.append((offset, decode(line)))
        except BadRecord as error:
            set_record_aside(folder, run, offset, line, error)
    return found


def set_record_aside(folder: Path, run: Run, offset: int, line: bytes, reason: Exception) -> None:
    """Keeps a record that cannot be stored under its place: a retry adds no second copy."""
    aside.keep_record(folder, f"{run.segment}-{offset}", line)
    log.error("spool: a record of %s at byte %d is set aside: %r", run.segment, offset, reason)


def finish(folder: Path, segment: str, position: int) -> None:
    """Deletes a complete, stored segment. A tail without a line feed is a write that never finished."""
    path = folder / segment
    with path.open("rb") as file:
        file.seek(position)
        tail = file.read(LINE_MAX_BYTES)
    if tail:
        aside.keep(folder, f"{segment}-{position}.torn", tail)
        log.warning("spool: a torn tail of %d bytes of %s is set aside", len(tail), segment)
    path.unlink()


def lag_s(folder: Path, position: Callable[[str], int], now_ms: int) -> float:
    """Seconds since the oldest event that is not stored yet was written, in whichever segment; 0 when all are stored.

    Of a segment that begins later than an event that waits only the first line is read: pages ask, and behind a loader
    that lags there may be many segments.
    """
    oldest_ms = None
    for segment in names(folder):
        try:
            if oldest_ms is not None and decode(_line_at(folder, segment, 0)).at_ms >= oldest_ms:
                continue
        except FileNotFoundError:
            continue
        except BadRecord:
            pass  # set aside in its turn; what comes behind it may wait all the same
        try:
            size = (folder / segment).stat().st_size
            start = position(segment) if size else 0
            if size <= start:
                continue
            at_ms = decode(_line_at(folder, segment, start)).at_ms
        except (FileNotFoundError, BadRecord):
            continue
        oldest_ms = at_ms if oldest_ms is None else min(oldest_ms, at_ms)
    return 0.0 if oldest_ms is None else max(0.0, (now_ms - oldest_ms) / 1000)
