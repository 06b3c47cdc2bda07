"""Conversions as a CSV file: tried without a trace, then recorded, a slice at a time and each row once.

A file that was uploaded waits in the data folder, its customers hashed, with a line for each row that is done: whoever
goes on, after a crash or in another hour, goes on there. Each row is a report whose id is made of the file's and of the
row's number: one that was recorded just before a crash is found again and not made twice.
"""

from __future__ import annotations

import fcntl
import io
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import orjson
from sqlalchemy.orm import Session

from tracker import claims, conversions, customers, days, sheets
from tracker.claims import IMPORT, Sighting
from tracker.config import Keys
from tracker.errors import Invalid, NotFound
from tracker.models import Workspace
from tracker.salesums import SaleSums

FOLDER = "imports"
BYTES_MAX = 10_000_000
ROWS_MAX = 50_000
ROWS_AT_ONCE = 200  # in one transaction, which keeps other writers of SQLite waiting
WAITING_MAX = 20  # files of one workspace
KEPT_S = 86_400
FAULTS_SHOWN = 100
COLUMNS = tuple(name for name in claims.ALIASES if name not in ("test", "touches"))
_NAME = re.compile(r"w(\d{1,19})-(\d{13})-([0-9a-f]{6})")


class Done(NamedTuple):
    """What became of a row, or would become of it. `errors` are sentences by column."""

    row: int
    result: str
    campaign: str | None
    reason: str | None
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a file is: rows done, and of how many; how they ended, and those that need another look."""

    done: int
    rows: int
    results: Mapping[str, int]
    faults: list[Done]

    @property
    def is_over(self) -> bool:
        return self.done >= self.rows


class Upload:
    """A file of conversions in the data folder, of one workspace."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._path = folder / f"{name}.rows"
        self._folder = folder
        found = _NAME.fullmatch(name)
        assert found is not None  # noqa: S101 (whoever makes one has looked)
        self.at_ms = int(found[2])
        self._number = int(found[3], 16)

    def rows(self) -> Iterator[sheets.Row]:
        with self._path.open("rb") as file:
            for line in file:
                yield sheets.Row(*orjson.loads(line))

    def fill(self, rows: Iterable[sheets.Row]) -> None:
        self._path.touch(mode=0o600)
        self._path.write_bytes(b"".join(orjson.dumps(tuple(row)) + b"\n" for row in rows))

    def sighting(self, row: int) -> Sighting:
        """The id of the report that a row is, the same however often it is read."""
        return Sighting(self.at_ms, self._number << 16 | row, IMPORT)

    def log(self, *, dry_run: bool) -> Path:
        return self._folder / f"{self.name}.{'tried' if dry_run else 'done'}"

    @property
    def is_begun(self) -> bool:
        """Whether any of it has been recorded, and not only tried."""
        return self.log(dry_run=False).exists()

    def drop(self) -> None:
        """Deletes the file, and what was written down of it."""
        for path in (self._path, self.log(dry_run=True), self.log(dry_run=False)):
            path.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else works on this file meanwhile. Raises Invalid where somebody does."""
        with self._path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Invalid({"file": "Somebody is at this file just now; look again in a moment."}) from None
            yield


def read(file: BinaryIO) -> Iterator[sheets.Row]:
    """The rows of a file, whose header names parameters of the callback, or what others call them.

    `ts` may be an instant with its offset, as 2027-01-31T12:00:00+01:00. Raises Invalid as `sheets.read` does, and for
    too many rows.
    """
    for count, row in enumerate(sheets.read(file, _columns), start=1):
        if count > ROWS_MAX:
            raise Invalid({"file": f"At most {ROWS_MAX:,} rows; cut the file in two."})
        yield _with_seconds(row)


def _columns(cells: list[str]) -> list[str]:
    ours = {other: name for name, others in claims.ALIASES.items() for other in others}
    names = [ours.get(cell, cell) for cell in cells]
    sheets.check_header(names, COLUMNS)
    if not {"cid", "order", "event_id"} & set(names):
        raise Invalid({sheets.name(1, "order"): "A column is missing that tells sales apart: order, cid or event_id."})
    return names


def read_lines(file: BinaryIO) -> Iterator[sheets.Row]:
    """The same of JSON lines: each an object of a report's parameters, as a callback would send it; numbered from 1."""
    for count, line in enumerate(filter(None, map(bytes.strip, file)), start=1):
        if count > ROWS_MAX:
            raise Invalid({"file": f"At most {ROWS_MAX:,} rows; cut the file in two."})
        try:
            cells = claims.read_params("", line, "application/json")
        except Invalid as error:
            yield sheets.Row(count, {}, error.errors)
            continue
        unknown = {
            name: f"There is no such field; there are {', '.join(COLUMNS)}." for name in set(cells) - set(COLUMNS)
        }
        yield sheets.Row(count, {}, unknown) if unknown else _with_seconds(sheets.Row(count, cells, {}))


def _with_seconds(row: sheets.Row) -> sheets.Row:
    text = row.cells.get("ts", "").strip()
    if not text or text.isdecimal():
        return row
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return row  # refused with the others, by name
    if at.tzinfo is None:
        return row._replace(errors={"ts": "An instant needs its offset, as 2027-01-31T12:00:00+01:00."})
    return row._replace(cells={**row.cells, "ts": str(int(at.timestamp()))})


def keep(
    data_dir: Path,
    workspace: Workspace,
    file: IO[bytes],
    keys: Keys,
    now: datetime,
    *,
    read: Callable[[BinaryIO], Iterator[sheets.Row]] = read,
) -> Upload:
    """Keeps what an uploaded file says for a day. Raises Invalid for one that cannot be read or is one too many."""
    folder = data_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    clear(data_dir, now)
    if sum(1 for _ in folder.glob(f"w{workspace.id}-*.rows")) >= WAITING_MAX:
        raise Invalid({"file": f"{WAITING_MAX} files wait already; each is kept for a day."})
    upload = Upload(folder, f"w{workspace.id}-{days.to_ms(now)}-{secrets.token_hex(3)}")
    content = file.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise Invalid({"file": f"A file has at most {BYTES_MAX:,} bytes; cut it in two."})
    rows = [row._replace(cells=_sealed(row.cells, keys.customer, workspace)) for row in read(io.BytesIO(content))]
    if not rows:
        raise Invalid({"file": "There is no row in this file."})
    upload.fill(rows)
    return upload


def _sealed(cells: Mapping[str, str], key: bytes, workspace: Workspace) -> Mapping[str, str]:
    """A customer who is too long to be one stays, and is refused by name.

    What networks match people by is written into the folder only where the workspace keeps it.
    """
    if len(cells.get(customers.NAME, "")) > customers.CUSTOMER_MAX:
        return cells
    sealed = customers.seal_params(cells, key)
    if not workspace.keeps_identities:
        sealed.pop(customers.MATCHED, None)
    return sealed


def clear(data_dir: Path, now: datetime) -> None:
    """Deletes what has waited for longer than a day: sales and customers stand in it."""
    for path in (data_dir / FOLDER).glob("w*-*-*.*"):
        found = _NAME.match(path.name)
        if found and days.to_ms(now) - int(found[2]) > KEPT_S * 1000:
            path.unlink(missing_ok=True)


def find(data_dir: Path, workspace: Workspace, name: str) -> Upload:
    """A file that waits, by its name. Raises NotFound."""
    found = _NAME.fullmatch(name)
    folder = data_dir / FOLDER
    if found is None or int(found[1]) != workspace.id or not (folder / f"{name}.rows").is_file():
        raise NotFound("There is no such file: files are kept for a day, on the machine that took them.")
    return Upload(folder, name)


def go_on(session: Session, workspace: Workspace, upload: Upload, keys: Keys, *, dry_run: bool) -> int:
    """Takes the next slice of rows, and answers how many are done. A dry run leaves nothing but what it found."""
    with upload.alone():
        log = upload.log(dry_run=dry_run)
        before = sum(1 for _ in _lines(log, cut=True))
        earlier = {_sale(row.cells) for row in islice(upload.rows(), before)} if dry_run else set()
        done, sums = [], SaleSums()
        for row in islice(upload.rows(), before, before + ROWS_AT_ONCE):
            done.append(_one(session, workspace, upload, row, keys, earlier, sums))
        # What was recorded but not written down here before a crash is found again by its id.
        if dry_run:
            session.rollback()
        else:
            sums.write(session)
            session.commit()
        with log.open("ab") as written:
            written.write(b"".join(orjson.dumps(each._asdict()) + b"\n" for each in done))
    return before + len(done)


def _one(
    session: Session,
    workspace: Workspace,
    upload: Upload,
    row: sheets.Row,
    keys: Keys,
    earlier: set[tuple[str, str]],
    sums: SaleSums,
) -> Done:
    if row.errors:
        return Done(row.number, "refused", None, "bad_value", row.errors)
    outcome = conversions.record(session, workspace, row.cells, upload.sighting(row.number), keys, sums)
    result = outcome.result
    if result == "recorded" and _sale(row.cells) in earlier:
        result = "updated"  # by then a row above will have recorded it
    errors = outcome.errors or ({"cid": outcome.hint} if outcome.hint else {})
    return Done(row.number, result, outcome.campaign, outcome.reason, errors)


def _sale(cells: Mapping[str, str]) -> tuple[str, str]:
    return cells.get("goal", claims.GOAL_DEFAULT), cells.get("order") or cells.get("cid") or cells.get("event_id", "")


def progress(upload: Upload, *, dry_run: bool) -> Progress:
    """How far a file is; of the rows that need another look the first `FAULTS_SHOWN`."""
    results: Counter[str] = Counter()
    shown: list[Done] = []
    for each in outcomes(upload, dry_run=dry_run):
        results[each.result] += 1
        if each.errors and len(shown) < FAULTS_SHOWN:
            shown.append(each)
    return Progress(results.total(), sum(1 for _ in upload.rows()), results, shown)


def outcomes(upload: Upload, *, dry_run: bool) -> Iterator[Done]:
    """What became of each row that is done, in order."""
    for line in _lines(upload.log(dry_run=dry_run)):
        yield Done(**orjson.loads(line))


class Line(NamedTuple):
    """A row as it was given, and what became of it."""

    done: Done
    cells: Mapping[str, str]


def lines(
    upload: Upload, *, dry_run: bool, result: str | None = None, after: int = 0, limit: int | None = None
) -> Iterator[Line]:
    """Rows that are done with what became of each, in order, those after row number `after`."""
    pairs = zip(upload.rows(), outcomes(upload, dry_run=dry_run), strict=False)
    wanted = (Line(done, row.cells) for row, done in pairs if done.row > after and result in (None, done.result))
    return islice(wanted, limit)


def _lines(log: Path, *, cut: bool = False) -> Iterator[bytes]:
    """The whole lines: one that a crash cut short is none, and its row is done again.

    `cut` takes it out of the file. Whoever only looks must not: it may be a line that somebody is just writing.
    """
    if not log.exists():
        return
    content = log.read_bytes()
    whole = content.rfind(b"\n") + 1
    if cut and whole < len(content):
        with log.open("r+b") as file:
            file.truncate(whole)
    yield from content[:whole].splitlines()


def as_row(line: Line) -> dict[str, Any]:
    """A row of the list of what became of a file."""
    done, cells = line
    return {
        "row": done.row,
        "order": cells.get("order"),
        "cid": cells.get("cid"),
        "result": done.result,
        "campaign": done.campaign,
        "reason": done.reason,
        "errors": told(done),
    }


def told(done: Done) -> str:
    """What is wrong with a row, in one line."""
    return "; ".join(f"{field}: {text}" for field, text in done.errors.items())
