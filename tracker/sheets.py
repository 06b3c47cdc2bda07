"""Tables as CSV files: a header that names columns, and rows numbered as a spreadsheet numbers them."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import BinaryIO, NamedTuple

from tracker.errors import Invalid

HEADER_MAX = 4_096


class Row(NamedTuple):
    """A row by its columns, without empty cells; or what is wrong with it. The header is row 1."""

    number: int
    cells: Mapping[str, str]
    errors: Mapping[str, str]


def name(row: int, field: str) -> str:
    """How an error names its place."""
    return f"row {row}, {field}"


def read(file: BinaryIO, columns_of: Callable[[list[str]], list[str]]) -> Iterator[Row]:
    """Each row with anything in it. `columns_of` makes columns of the header's cells, trimmed and in lower case.

    UTF-8, with or without a byte order mark; cells are parted by commas, or by semicolons where the header is. Raises
    Invalid where the file or its header cannot be read, as does `columns_of` for a header that will not do.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    row = 1
    try:
        header = text.readline(HEADER_MAX)
        rows = csv.reader(chain([header], text), delimiter=_delimiter(header), strict=True)
        names = columns_of([cell.strip().lower() for cell in next(rows, [])])
        for row, cells in enumerate(rows, start=2):
            if any(cells):
                yield _row(row, names, cells)
    except csv.Error as error:
        raise Invalid({f"after row {row}": f"This is no CSV: {error}."}) from None
    except UnicodeDecodeError:
        raise Invalid({f"after row {row}": "The file is not in UTF-8; save it again as “CSV UTF-8”."}) from None
    finally:
        text.detach()


def _delimiter(header: str) -> str:
    return ";" if header.count(";") > header.count(",") else ","


def _row(number: int, names: list[str], cells: list[str]) -> Row:
    if len(cells) != len(names):
        return Row(number, {}, {"columns": f"The header has {len(names)} cells, this row {len(cells)}."})
    return Row(number, {column: cell for column, cell in zip(names, cells, strict=True) if cell}, {})


def text_of(content: bytes) -> str:
    """What a file says, in UTF-8 or, as some programs export, in UTF-16 with its mark. Raises Invalid."""
    is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid({"file": "The file is not in UTF-8; save it again as “CSV UTF-8”."}) from None


def rows_of(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Cells of every row, trimmed, with the number a spreadsheet gives it; the first is 1. Raises Invalid."""
    number = 0
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), start=1):
            yield number, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise Invalid({f"after row {number}": f"This is no CSV: {error}."}) from None


def check_header(names: list[str], known: tuple[str, ...], needed: tuple[str, ...] = ()) -> None:
    """Raises Invalid for columns that are not known, are there twice, or are missing."""
    unknown = f"There is no such column; there are {', '.join(known)}."
    errors = {name(1, each or "a cell without a name"): unknown for each in names if each not in known}
    errors |= {name(1, each): "This column is missing." for each in needed if each not in names}
    errors |= {name(1, each): "This column is there twice." for each in known if names.count(each) > 1}
    if errors:
        raise Invalid(errors)
