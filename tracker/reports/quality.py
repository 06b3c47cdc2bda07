"""How well each source of conversion reports can be matched: what its reports carry, and what it should add."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import clickid, customers, days
from tracker.claims import IMPORT, PIXEL
from tracker.models import Conversion, Link, Report, Workspace

DAYS = (7, 30)
REPORTS_MAX = 10_000  # the newest
SOURCES_MAX = 20  # those with most reports; the others are one together
PRODUCT_MAX = 40  # characters
BROWSER = "Mozilla"  # every browser says so of itself
# What each share is of all reports, in the order of the table.
SHARES = ("cid", "genuine", "order", "value", "currency", "customer", "matched", "duplicate")
MUCH = 0.05  # of the reports may lack something before it is told
# So many matched, and with an order id, for a grade.
GOOD, FAIR = 0.9, 0.6
REFUSED_CLICKS = frozenset({"foreign_click_id", "unknown_link"})


class Grade(StrEnum):
    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"


class By(StrEnum):
    """What is taken for a source: the way a report came, who sent it, or the `utm_source` of its matched link."""

    WAY = "way"
    SENDER = "sender"
    SOURCE = "source"


class Advice(NamedTuple):
    """What so large a share of a source's reports lacks."""

    lacks: str
    share: float


@dataclass(slots=True)
class Quality:
    """Reports of one source; `name` is None for those of no known one, `via` how they came where all came alike."""

    name: str | None
    via: str | None
    n: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SHARES, 0))

    def share(self, what: str) -> float | None:
        return self.counts[what] / self.n if self.n else None

    def _lack(self, what: str, of: str | None = None) -> float:
        """The share of reports that lack something, of all or of those that have something else."""
        whole = self.counts[of] if of else self.n
        return 1 - self.counts[what] / whole if whole else 0.0

    @property
    def grade(self) -> Grade:
        """By what decides whether sales are counted, and counted once: the match and the order id."""
        worst = min(1 - self._lack("matched"), 1 - self._lack("order"))
        return Grade.GOOD if worst >= GOOD else Grade.FAIR if worst >= FAIR else Grade.POOR

    @property
    def advice(self) -> list[Advice]:
        """What to add, that which is lacking most first."""
        lacking = {
            "genuine": self._lack("genuine", of="cid"),
            "order": self._lack("order"),
            "value": self._lack("value"),
            "currency": self._lack("currency", of="value"),
            "customer": self._lack("customer"),
        }
        # Reports that were matched by their order, as refunds are, do without a click id.
        if self._lack("matched") > MUCH:
            lacking["cid"] = self._lack("cid")
        found = [Advice(what, share) for what, share in lacking.items() if share > MUCH]
        return sorted(found, key=lambda advice: -advice.share)

    def add(self, has: Mapping[str, bool]) -> None:
        self.n += 1
        for what, there in has.items():
            self.counts[what] += there


class Lack(NamedTuple):
    """What is to be added, and where how large a share lacks it; those worst off first."""

    what: str
    of: list[tuple[Quality, float]]


class Qualities(NamedTuple):
    """Sources, those with most reports first; `is_cut` where there are older reports in the days that were not read."""

    rows: list[Quality]
    is_cut: bool
    n: int

    @property
    def lacks(self) -> list[Lack]:
        """The advice to all sources, each piece once, in the order of the table."""
        found: dict[str, list[tuple[Quality, float]]] = {}
        for row in self.rows:
            for advice in row.advice:
                found.setdefault(advice.lacks, []).append((row, advice.share))
        return [Lack(what, sorted(found[what], key=lambda of: -of[1])) for what in SHARES if what in found]


def of_sources(
    session: Session, workspace: Workspace, keys: Mapping[int, bytes], now: datetime, n_days: int, by: By
) -> Qualities:
    """The newest REPORTS_MAX reports of the last days, by their source. Tests are none of them."""
    since_ms = days.to_ms(now - timedelta(days=n_days))
    columns = (Report.via, Report.agent, Report.params, Report.result, Report.reason, Link.source, Conversion.is_test)
    query = (
        select(*columns)
        .outerjoin(Conversion, Conversion.id == Report.conversion_id)
        .outerjoin(Link, Link.id == Conversion.link_id)
        .where(Report.workspace_id == workspace.id, Report.at_ms >= since_ms, Report.result != "test")
        .order_by(Report.id.desc())
        .limit(REPORTS_MAX + 1)
    )
    rows = session.execute(query).all()
    found: dict[tuple[str | None, str | None], Quality] = {}
    for via, agent, params, result, reason, source, is_test in rows[:REPORTS_MAX]:
        if is_test:
            continue
        key = _source(by, via, agent, source)
        if key not in found:
            found[key] = Quality(*key)
        found[key].add(_has(params, result, reason, keys))
    ordered = sorted(found.values(), key=lambda row: (-row.n, row.name or "", row.via or ""))
    return Qualities(_bounded(ordered), len(rows) > REPORTS_MAX, sum(row.n for row in ordered))


def _source(by: By, via: str, agent: str | None, source: str | None) -> tuple[str | None, str | None]:
    if by == By.SOURCE:
        return source, None
    return (via if by == By.WAY else product_of(agent, via)), via


def product_of(agent: str | None, via: str) -> str | None:
    """Who sent a report: the product that its user agent names first, without a version (RFC 9110, 10.1.5)."""
    if via in (PIXEL, IMPORT):
        return via
    product = (agent or "").partition("/")[0].split(" ")[0].strip()[:PRODUCT_MAX]
    return "browser" if product == BROWSER else product or None


def _has(params: Mapping[str, str], result: str, reason: str | None, keys: Mapping[int, bytes]) -> dict[str, bool]:
    """What a report has of all that makes it good. A click id is looked at by itself: a refusal tells nothing of it."""
    cid = params.get("cid", "").strip()
    return {
        "cid": bool(cid),
        "genuine": reason not in REFUSED_CLICKS and clickid.read(cid, keys) is not None,
        **{name: bool(params.get(name, "").strip()) for name in ("order", "value", "currency", customers.NAME)},
        "matched": result in ("recorded", "updated", "duplicate"),
        "duplicate": result == "duplicate",
    }


def _bounded(rows: list[Quality]) -> list[Quality]:
    """At most so many sources; the rarest are one row together."""
    if len(rows) <= SOURCES_MAX:
        return rows
    rest = Quality("others", None)
    for row in rows[SOURCES_MAX - 1 :]:
        rest.n += row.n
        for what in SHARES:
            rest.counts[what] += row.counts[what]
    return [*rows[: SOURCES_MAX - 1], rest]


def csv_rows(rows: Iterable[Quality]) -> list[dict[str, str | int | float | None]]:
    """A row for each source, shares as fractions."""
    return [
        {"source": row.name, "via": row.via, "reports": row.n}
        | {f"{what}_share": round(row.counts[what] / row.n, 4) if row.n else None for what in SHARES}
        | {"grade": row.grade.value}
        for row in rows
    ]
