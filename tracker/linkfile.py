"""Links as a CSV file: read into drafts, and written back with what was made of them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from typing import Any, BinaryIO, TextIO

from tracker import sheets, snippets
from tracker.bulk import Given, Made
from tracker.links import LinkDraft

COLUMNS = tuple(field.name for field in fields(LinkDraft))
NEEDED = tuple(field.name for field in fields(LinkDraft) if field.default is MISSING)
NO_CLICK_ID = "(none)"
_NOTHING = dict.fromkeys(NEEDED, "")


def read(file: BinaryIO) -> Iterator[Given]:
    """Each row of a CSV file with its number. The header names fields of the API, in any order.

    Tags are parted by `|`. An empty cell is a field not given; `(none)` as `click_id_param` stands for no click id.
    Empty rows are passed over. Raises Invalid where the file or its header cannot be read.
    """
    for row in sheets.read(file, _names):
        yield row.number, row.errors or _entry(row.cells)


def _names(cells: list[str]) -> list[str]:
    sheets.check_header(cells, COLUMNS, NEEDED)
    return cells


def _entry(cells: Mapping[str, str]) -> LinkDraft | Mapping[str, str]:
    given: dict[str, Any] = _NOTHING | dict(cells)
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
