"""Lists as pages of JSON, or as CSV where that is asked for by suffix or by Accept."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response, request

from tracker.api.problems import answer
from tracker.errors import Invalid

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def wants_csv() -> bool:
    best = request.accept_mimetypes.best_match(["application/json", "text/csv"], default="application/json")
    return request.path.endswith(".csv") or best == "text/csv"


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is marked as text (OWASP, CSV injection)."""
    if isinstance(value, Mapping | list):
        value = ", ".join(map(str, value.values() if isinstance(value, Mapping) else value))
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def csv_answer(rows: Sequence[Mapping[str, Any]]) -> Response:
    text = io.StringIO()
    writer = csv.writer(text)
    if rows:
        writer.writerow(rows[0].keys())
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return Response(text.getvalue(), mimetype="text/csv")


def page_answer(rows: Sequence[Mapping[str, Any]], next_cursor: str | None) -> Response:
    """One page; `next_cursor` goes into the next request's `cursor` and is null at the end."""
    if wants_csv():
        response = csv_answer(rows)
        if next_cursor:
            response.headers["X-Next-Cursor"] = next_cursor
        return response
    return answer(200, {"items": rows, "next_cursor": next_cursor})


def cursor_id(cursor: str | None) -> int | None:
    """A cursor of a list ordered by id. Raises Invalid."""
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdecimal() or len(cursor) > 18:
        raise Invalid({"cursor": "Take the cursor from the page before."})
    return int(cursor)
