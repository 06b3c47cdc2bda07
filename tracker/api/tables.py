"""Lists as pages of JSON, or as CSV where that is asked for by suffix or by Accept."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar
from zoneinfo import ZoneInfo

from flask import Response, request, stream_with_context

from tracker.api.problems import answer
from tracker.api.schemas import PageQuery, read_query
from tracker.errors import Invalid


class HasId(Protocol):
    """A row that has an id to go on from."""

    @property
    def id(self) -> Any: ...


Row = TypeVar("Row", bound=HasId)

# Maps whose keys differ from row to row.
_FREE = ("filtered", "params")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def wants_csv() -> bool:
    best = request.accept_mimetypes.best_match(["application/json", "text/csv"], default="application/json")
    return request.path.endswith(".csv") or best == "text/csv"


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is marked as text (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _text(value: Any) -> str:
    """One entry of a list: `49.90 EUR` of money, a tag as it is."""
    return f"{value['amount']} {value['currency']}" if isinstance(value, Mapping) else str(value)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without depth: a rate becomes `ctr`, `ctr_low`, `ctr_high`; lists and free maps one text each."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping) and name in _FREE:
            flat[name] = "; ".join(f"{key} {inner}" for key, inner in value.items())
        elif isinstance(value, Mapping):
            flat |= {name if key == "value" else f"{name}_{key}": inner for key, inner in value.items()}
        else:
            flat[name] = "; ".join(map(_text, value)) if isinstance(value, list) else value
    return flat


def with_local(row: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    """A row with the wall clock of a zone beside each instant in UTC: `sold_at_local` after `sold_at`."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        found[name] = value
        if name.endswith("_at"):
            local = datetime.fromisoformat(value).astimezone(zone) if value else None
            found[f"{name}_local"] = f"{local:%Y-%m-%d %H:%M:%S}" if local else None
    return found


def csv_answer(rows: Sequence[Mapping[str, Any]]) -> Response:
    return Response("".join(_csv_pages([rows])), mimetype="text/csv")


def csv_stream(pages: Iterable[Sequence[Mapping[str, Any]]], filename: str) -> Response:
    """A table of any length, sent page by page as it is read; every row has the names of the first."""
    response = Response(stream_with_context(_csv_pages(pages)), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _csv_pages(pages: Iterable[Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    is_first = True
    for rows in pages:
        text = io.StringIO()
        writer = csv.writer(text)
        flat = [_flat(row) for row in rows]
        if flat and is_first:
            writer.writerow(flat[0])
            is_first = False
        writer.writerows([_cell(value) for value in row.values()] for row in flat)
        yield text.getvalue()


def page_answer(rows: Sequence[Mapping[str, Any]], next_cursor: str | None) -> Response:
    """One page; `next_cursor` goes into the next request's `cursor` and is null at the end."""
    if wants_csv():
        response = csv_answer(rows)
        if next_cursor:
            response.headers["X-Next-Cursor"] = next_cursor
        return response
    return answer(200, {"items": rows, "next_cursor": next_cursor})


def page_by_id(
    fetch: Callable[..., Sequence[Row]],
    shape: Callable[[Row], Mapping[str, Any]],
    query: Mapping[str, Any] | None = None,
    exported: Callable[[Row], bool] = lambda _: True,
) -> Response:
    """One page of a list that is ordered by id, newest first. Raises Invalid for a bad limit or cursor.

    `query` is one that has been read already, with a limit and a cursor among others. As CSV a page holds those rows
    only that are `exported`.
    """
    query = read_query(PageQuery) if query is None else query
    found = fetch(before_id=_cursor_id(query["cursor"]), limit=query["limit"])
    shown = filter(exported, found) if wants_csv() else found
    return page_answer([shape(row) for row in shown], str(found[-1].id) if len(found) == query["limit"] else None)


def _cursor_id(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdecimal() or len(cursor) > 18:
        raise Invalid({"cursor": "Take the cursor from the page before."})
    return int(cursor)
