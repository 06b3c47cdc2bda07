"""A CSV file as people save it, read into drafts; what cannot be read is named by row and field."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tracker import linkfile
from tracker.api.schemas import BULK_MAX
from tracker.bulk import LINKS_MAX, Made
from tracker.errors import Invalid
from tracker.links import LinkDraft

pytestmark = pytest.mark.any_database

HEADER = "destination,campaign,source,medium"
ROW = "https://shop.example/,c,s,m"
DRAFT = LinkDraft(destination="https://shop.example/", campaign="c", source="s", medium="m")


def read(text: str | bytes) -> list[Any]:
    return list(linkfile.read(io.BytesIO(text.encode() if isinstance(text, str) else text)))


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n{ROW}\n",
        f"{HEADER}\r\n{ROW}",
        f"\ufeff{HEADER}\n{ROW}\n",
        f"{HEADER}\n{ROW}\n".replace(",", ";"),
        f'{HEADER.upper()}\n"https://shop.example/", c,s,m\n'.replace(" c", "c"),
        "medium, source ,title,campaign,destination\nm,s,,c,https://shop.example/\n",
    ],
)
def test_columns_stand_in_any_order_parted_by_commas_or_semicolons(text: str) -> None:
    assert read(text) == [(2, DRAFT)]


def test_every_field_has_its_column() -> None:
    header = "destination;campaign;source;medium;term;content;id;code;title;tags;expires_at;redirect_code;query_mode"
    row = 'https://shop.example/?a=1,2;c;s;m;t;"a;b";7;mine;T;x|y;2030-01-01T12:00:00Z; 307 ;drop'
    header += ";click_id_param;referrer_policy;fallback_url;cost_param;cost_currency"
    row += ";(none);origin;https://shop.example/gone;cost;USD"
    assert read(f"{header}\n{row}\n") == [
        (
            2,
            LinkDraft(
                destination="https://shop.example/?a=1,2",
                campaign="c",
                source="s",
                medium="m",
                term="t",
                content="a;b",
                id="7",
                code="mine",
                title="T",
                tags=("x", "y"),
                expires_at=datetime(2030, 1, 1, 12, tzinfo=UTC),
                redirect_code=307,
                query_mode="drop",
                click_id_param="",
                referrer_policy="origin",
                fallback_url="https://shop.example/gone",
                cost_param="cost",
                cost_currency="USD",
            ),
        )
    ]
    assert header.split(";") == list(linkfile.COLUMNS)


def test_rows_are_numbered_as_a_spreadsheet_does() -> None:
    text = f'{HEADER},title\n\n{ROW},"two\nlines"\n,,,,\n{ROW},x\n'
    assert [number for number, _ in read(text)] == [3, 5]


@pytest.mark.parametrize(
    ("header", "row", "field"),
    [
        (HEADER, ROW + ",x", "columns"),
        (HEADER, "https://shop.example/,c,s", "columns"),
        (HEADER + ",expires_at", ROW + ",tomorrow", "expires_at"),
        (HEADER + ",expires_at", ROW + ",2030-01-01T12:00:00", "expires_at"),
    ],
)
def test_a_cell_that_cannot_be_read_is_an_error_of_its_row(header: str, row: str, field: str) -> None:
    ((number, errors),) = read(f"{header}\n{row}\n")
    assert (number, list(errors)) == (2, [field])


@pytest.mark.parametrize("cell", ["x", "-302", "3.0", "9" * 5000, "²"])
def test_a_redirect_code_that_is_no_number_is_left_to_the_check(cell: str) -> None:
    ((_, draft),) = read(f"{HEADER},redirect_code\n{ROW},{cell}\n")
    assert draft.redirect_code == 0


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("", ["row 1, destination", "row 1, campaign", "row 1, source", "row 1, medium"]),
        (f"{HEADER},colour\n{ROW},red\n", ["row 1, colour"]),
        (f"{HEADER},\n{ROW},\n", ["row 1, a cell without a name"]),
        (f"{HEADER},source\n{ROW},s\n", ["row 1, source"]),
        (f"{HEADER}\n{ROW}\n{ROW}\n".encode("utf-16"), ["after row 1"]),
        (f"{HEADER}\n".encode() + "https://shop.example/,ü,s,m\n".encode("latin-1"), ["after row 1"]),
        (f'{HEADER}\n{ROW}\n"https', ["after row 2"]),
        (f'{HEADER}\n"https"x,c,s,m\n', ["after row 1"]),
        (f"{HEADER}\n{'x' * 200_000},c,s,m\n", ["after row 1"]),
    ],
)
def test_a_file_that_cannot_be_read_says_where(text: str | bytes, places: list[str]) -> None:
    with pytest.raises(Invalid) as refused:
        read(text)
    assert list(refused.value.errors) == places


def test_what_was_made_is_written_as_csv() -> None:
    written = io.StringIO()
    linkfile.write(written, [Made("abc", "https://shop.example/?a=1,2")], "https://go.example")
    assert written.getvalue() == (
        'code,short_url,tagged_url\nabc,https://go.example/abc,"https://shop.example/?a=1,2"\n'
    )


def test_the_readme_names_every_column_and_the_limits() -> None:
    told = (Path(__file__).parent.parent / "README.md").read_text().partition("## Many links at once")[2]
    told = told.partition("\n## ")[0]
    assert [column for column in linkfile.COLUMNS if f"`{column}`" not in told] == []
    assert f"{LINKS_MAX:,} rows" in told
    assert f"up to {BULK_MAX:,}" in told
