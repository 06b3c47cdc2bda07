"""Links as a CSV file: read into drafts, and written back with what was made of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from itertools import chain
from typing import Any, BinaryIO, TextIO

from tracker import snippets
from tracker.bulk import Given, Made
from tracker.errors import Invalid
from tracker.links import LinkDraft

COLUMNS = tuple(field.name for field in fields(LinkDraft))
NEEDED = tuple(field.name for field in fields(LinkDraft) if field.default is MISSING)
HEADER_MAX = 4_096
NO_CLICK_ID = "(none)"
_NOTHING = dict.fromkeys(NEEDED, "")


def name(row: int, field: str) -> str:
    """How an error names its place: rows as a spreadsheet numbers them, the header being the first."""
    return f"row {row}, {field}"


def read(file: BinaryIO) -> Iterator[Given]:
    """Each row of a CSV file with its number. The header names fields of the API, in any order.

    UTF-8, with or without a byte order mark; cells are parted by commas, or by semicolons where the header is. Tags are
    parted by `|`. An empty cell is a field not given; `(none)` as `click_id_param` stands for no click id. Empty rows
    are passed over. Raises Invalid where the file or its header cannot be read.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    row = 1
    try:
        header = text.readline(HEADER_MAX)
        rows = csv.reader(chain([header], text), delimiter=_delimiter(header), strict=True)
        names = _names(next(rows, []))
        for row, cells in enumerate(rows, start=2):
            if any(cells):
                yield row, _entry(names, cells)
    except csv.Error as error:
        raise Invalid({f"after row {row}": f"This is no CSV: {error}."}) from None
    except UnicodeDecodeError:
        raise Invalid({f"after row {row}": "The file is not in UTF-8; save it again as “CSV UTF-8”."}) from None
    finally:
        text.detach()


def _delimiter(header: str) -> str:
    return ";" if header.count(";") > header.count(",") else ","


def _names(cells: list[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    unknown = f"There is no such column; there are {', '.join(COLUMNS)}."
    errors = {name(1, each or "a cell without a name"): unknown for each in names if each not in COLUMNS}
    errors |= {name(1, each): "This column is missing." for each in NEEDED if each not in names}
    errors |= {name(1, each): "This column is there twice." for each in COLUMNS if names.count(each) > 1}
    if errors:
        raise Invalid(errors)
    return names


def _entry(names: list[str], cells: list[str]) -> LinkDraft | Mapping[str, str]:
    if len(cells) != len(names):
        return {"columns": f"The header has {len(names)} cells, this row {len(cells)}."}
    given: dict[str, Any] = _NOTHING | {column: cell for column, cell in zip(names, cells, strict=True) if cell}
    errors = {}
    if "tags" in given:
        given["tags"] = tuple(given["tags"].split("|"))
    if given.get("click_id_param") == NO_CLICK_ID:
        given["click_id_param"] = ""
    if "redirect_code" in given:
        given["redirect_code"] = _number(given["redirect_code"])
    if "expires_at" in given:
        given["expires_at"] = _instant(given["expires_at"])
        if given["expires_at"] is None:
            errors["expires_at"] = "An expiry is an instant with its offset, as 2027-01-31T12:00:00+01:00."
    return errors or LinkDraft(**given)


def _number(cell: str) -> int:
    """The number, or 0 for what is none: the check of the draft refuses that as it does 303."""
    cell = cell.strip()
    return int(cell) if cell.isascii() and cell.isdecimal() and len(cell) <= 9 else 0


def _instant(cell: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(cell.strip())
    except ValueError:
        return None
    return at if at.tzinfo else None


def write(file: TextIO, made: Iterable[Made], public_url: str) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("code", "short_url", "tagged_url"))
    writer.writerows((each.code, snippets.short_url(each.code, public_url), each.tagged_url) for each in made)
