"""A row for each budget: what was wanted, what was measured, and whether that is enough."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One budget. `ratio` is what the verdict rests on; `met` is None for a yardstick."""

    what: str
    budget: str
    measured: str
    ratio: float | None
    met: bool | None


def show(rows: list[Row], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    table = Table(box=box.SIMPLE, header_style="bold")
    for column in ("What", "Budget", "Measured", "Ratio", "Verdict"):
        table.add_column(column, justify="right" if column == "Ratio" else "left")
    for row in rows:
        verdict = "–" if row.met is None else "met" if row.met else "[bold]missed[/bold]"
        table.add_row(row.what, row.budget, row.measured, "–" if row.ratio is None else f"{row.ratio:.2f}", verdict)
    Console().print(table)
