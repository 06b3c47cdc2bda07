"""Reports on a terminal that is narrow, or none at all."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from tracker import printing
from tracker.money import Money
from tracker.reports.metrics import Rate, Totals

pytestmark = pytest.mark.any_database

N = 1_973_775_123


def printed(width: int, show: Callable[[Console], None]) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show(console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [40, 80, 99, 100, 200])
def test_no_figure_is_cut_off(width: int) -> None:
    found = Totals(
        impressions=N,
        clicks=N // 9,
        unique_clicks=N // 14,
        conversions=N // 180,
        approved=None,
        ctr=Rate(N // 9, N),
        conversion_rate=Rate(N // 180, N // 9),
        revenue=[Money(N, "EUR"), Money(54_969_840, "JPY")],
        filtered={},
    )

    def show(console: Console) -> None:
        table = printing._table(console, "Link")
        table.add_row("newsletter-hero-b", *printing._cells(found))
        printing._show(console, table)

    text = printed(width, show)
    assert "…" not in text
    for figure in ("newsletter-hero-b", f"{N:,}", f"{N // 9:,}", f"{N // 14:,}", "19737751.23 EUR", "54969840 JPY"):
        assert figure in text


def test_addresses_of_links_are_whole() -> None:
    address = f"https://shop.example/{'teapots-' * 12}?utm_source=newsletter"
    text = printed(80, lambda console: printing.links(console, [{"code": "teapot", "destination": address}]))
    assert "".join(part.strip("│┃ ") for line in text.splitlines() for part in line.split("│")[2:3]) == address
