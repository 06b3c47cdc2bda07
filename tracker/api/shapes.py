"""How things look in JSON: the documented names, instants in ISO 8601 with their offset, money as text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from tracker import clickcost, days, snippets
from tracker.campaigning import Cost
from tracker.events import Kind, Verdict
from tracker.models import Campaign, Conversion, Link, Report
from tracker.money import Money, Price
from tracker.rates import Rate as ExchangeRate
from tracker.reports.attention import Need
from tracker.reports.benchmarks import Benchmark, Standing
from tracker.reports.campaign import CampaignReport, Period
from tracker.reports.comparison import Difference
from tracker.reports.grouping import Group
from tracker.reports.metrics import Rate, Totals
from tracker.reports.series import Point
from tracker.reports.weekhours import WeekHour
from tracker.stores import StoredEvent

RATE_PLACES = 6
PRICES = ("cpc", "cpm", "cpa", "epc", "aov")
COMPLETE_PLACES = 2


def instant(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def link(row: Link, public_url: str) -> dict[str, Any]:
    pasted = snippets.of_link(row, public_url)
    return {
        "code": row.code,
        "short_url": pasted.short_url,
        "cost_url": pasted.cost_url,
        "destination": row.destination,
        "tagged_url": row.tagged_url,
        "impression_pixel_url": pasted.impression_pixel_url,
        "impression_pixel_html": pasted.impression_pixel_html,
        "honeypot_html": pasted.honeypot_html,
        "campaign": {"slug": row.campaign.slug, "name": row.campaign.name},
        "source": row.source,
        "medium": row.medium,
        "term": row.term,
        "content": row.content,
        "id": row.utm_id,
        "title": row.title,
        "tags": row.tags,
        "redirect_code": row.redirect_code,
        "query_mode": row.query_mode,
        "click_id_param": row.click_id_param,
        "referrer_policy": row.referrer_policy,
        "fallback_url": row.fallback_url,
        "cost_param": row.cost_param,
        "cost_currency": row.cost_currency,
        "created_at": instant(row.created_at),
        "updated_at": instant(row.updated_at),
        "expires_at": instant(row.expires_at),
        "archived_at": instant(row.archived_at),
    }


def need(row: Need) -> dict[str, Any]:
    """Facts are counts, texts, dates, rates and money, each as elsewhere."""
    return {
        "kind": row.kind,
        "severity": row.severity.word,
        "campaign": {"slug": row.campaign.slug, "name": row.campaign.name} if row.campaign else None,
        "links": list(row.links),
        "since": instant(row.since),
        "facts": {name: _fact(value) for name, value in row.facts.items()},
        "means": row.means,
        "todo": row.todo or None,
    }


def _fact(value: Any) -> Any:
    if isinstance(value, Rate):
        return rate(value)
    if isinstance(value, Money):
        return money(value)
    return value.isoformat() if isinstance(value, date) else value


def campaign(row: Campaign) -> dict[str, Any]:
    return {
        "slug": row.slug,
        "name": row.name,
        "campaign": row.utm_campaign,
        "attribution_model": row.attribution_model,
        "click_window_days": row.click_window_days,
        "view_window_days": row.view_window_days,
        "budget": money(row.budget) if row.budget else None,
        "created_at": instant(row.created_at),
        "archived_at": instant(row.archived_at),
    }


def money(amount: Money) -> dict[str, str]:
    return {"currency": amount.currency, "amount": amount.amount}


def cost(row: Cost, codes: Mapping[int, str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "from": row.first_on.isoformat(),
        "to": row.last_on.isoformat(),
        "amount": row.money.amount,
        "currency": row.currency,
        "source": row.source,
        "link": codes.get(row.link_id) if row.link_id is not None else None,
        "origin": row.origin,
        "impressions": row.impressions,
        "clicks": row.clicks,
        "updated_at": instant(row.updated_at),
    }


def rate_of(found: ExchangeRate) -> dict[str, str]:
    return {"currency": found.currency, "from": found.from_on.isoformat(), "rate": f"{found.rate:f}"}


def conversion(row: Conversion) -> dict[str, Any]:
    return {
        "id": row.id,
        "campaign": row.campaign.slug,
        "link": row.link.code if row.link else None,
        "goal": row.goal,
        "order": row.order_id,
        "status": row.status,
        "value": row.money.amount if row.money else None,
        "currency": row.currency,
        "click_id": row.click_id,
        # Of a view it is the impression's instant, of a sale given to a campaign alone its own: nobody clicked.
        "clicked_at": instant(days.from_ms(row.click_at_ms)) if row.click_id else None,
        "converted_at": instant(row.converted_at),
        "outside_window": row.outside_window,
        "matched_by": row.matched_by,
        "test": row.is_test,
    }


def conversion_with_ledger(row: Conversion) -> dict[str, Any]:
    """Ledger amounts are differences: their sum up to any instant is what the conversion was worth then."""
    ledger = [
        {
            "at": instant(entry.at),
            "via": entry.via,
            "status": entry.status,
            "value": Money(entry.minor, entry.currency).amount if entry.currency else None,
            "currency": entry.currency,
        }
        for entry in row.entries
    ]
    return conversion(row) | {"ledger": ledger}


def report(row: Report) -> dict[str, Any]:
    return {
        "id": row.id,
        "received_at": instant(days.from_ms(row.at_ms)),
        "via": row.via,
        "params": row.params,
        "result": row.result,
        "reason": row.reason,
        "hint": row.hint,
        "conversion_id": row.conversion_id,
    }


def event(row: StoredEvent, codes: dict[int, str]) -> dict[str, Any]:
    return {
        "id": f"{row.at_ms}-{row.nonce}",
        "at": instant(days.from_ms(row.at_ms)),
        "kind": Kind(row.kind).word,
        "verdict": Verdict(row.verdict).word,
        "reason": row.detail,
        "label": row.detail,
        "rule": row.rule,
        "code": codes.get(row.link_id) if row.link_id else row.detail,
        "agent": row.agent,
        "referrer_host": row.referrer,
        "language": row.language,
        "device": row.device,
        "os": row.os,
        "browser": row.browser,
        "country": row.country,
        "channel": row.channel,
        **click_cost(row),
    }


def click_cost(row: StoredEvent) -> dict[str, Any]:
    """What a click said it cost. One that said what could not be read has none, and counts all the same."""
    return {
        "cost": None if row.cost_micros is None else clickcost.amount(row.cost_micros),
        "cost_currency": row.cost_currency,
        "cost_is_unreadable": row.cost_currency is not None and row.cost_micros is None,
    }


def rate(found: Rate) -> dict[str, float | None]:
    low, high = found.interval or (None, None)
    return {"value": _rounded(found.value), "low": _rounded(low), "high": _rounded(high)}


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, RATE_PLACES)


def totals(found: Totals) -> dict[str, Any]:
    return {
        "impressions": found.impressions,
        "clicks": found.clicks,
        "unique_clicks": found.unique_clicks,
        "conversions": found.conversions,
        "approved": found.approved,
        "ctr": rate(found.ctr),
        "conversion_rate": rate(found.conversion_rate),
        "revenue": [money(amount) for amount in found.revenue],
        **_money_metrics(found),
        "filtered": found.filtered,
    }


def _money_metrics(found: Totals) -> dict[str, Any]:
    """What was spent, and what is reckoned from totals in the workspace's `currency`, as plain decimals."""
    known = found.cost_total or found.revenue_total
    shape: dict[str, Any] = {
        "cost": None if found.cost is None else [money(amount) for amount in found.cost],
        "currency": known and known.currency,
        "cost_total": found.cost_total and found.cost_total.amount,
        "revenue_total": found.revenue_total and found.revenue_total.amount,
    }
    for name in PRICES:
        price: Price | None = getattr(found, name)
        shape[name] = price and price.amount
    for name in ("roas", "roi"):
        times: Decimal | None = getattr(found, name)
        shape[name] = None if times is None else float(round(times, RATE_PLACES))
    for name in ("cost_without_rate", "revenue_without_rate"):
        shape[name] = [money(amount) for amount in getattr(found, name)]
    return shape


def difference(found: Difference | None) -> dict[str, float | None] | None:
    if found is None:
        return None
    return {"difference": _rounded(found.difference), "low": _rounded(found.low), "high": _rounded(found.high)}


def point(found: Point) -> dict[str, Any]:
    shape = {
        "at": found.at.isoformat(),
        "impressions": found.impressions,
        "clicks": found.clicks,
        "conversions": found.conversions,
    }
    # Known of every step of a series, or of none.
    return shape if found.complete is None else shape | {"complete": round(found.complete, COMPLETE_PLACES)}


def group(found: Group) -> dict[str, Any]:
    return {"key": found.key, **totals(found.totals)}


def weekhour(found: WeekHour) -> dict[str, Any]:
    """`key` is ISO 8601's number of the weekday and the local hour: `1T09` is Monday from nine to ten."""
    counts = {"impressions": found.impressions, "clicks": found.clicks, "conversions": found.conversions}
    return {"key": found.key, **counts}


def benchmark(period: Period, found: Benchmark | None) -> dict[str, Any]:
    """`medium` is null where no other campaigns can be compared with."""

    def standing(of: Standing | None) -> dict[str, Any] | None:
        if of is None:
            return None
        own = {"own": rate(of.own), "median": _rounded(of.median), "campaigns": of.campaigns}
        return own | {"verdict": of.verdict}

    return {
        "from": period.first.isoformat(),
        "to": period.last.isoformat(),
        "medium": found.medium if found else None,
        "ctr": standing(found.ctr) if found else None,
        "conversion_rate": standing(found.conversion_rate) if found else None,
        "weakest": found.weakest if found else None,
    }


def stats(found: CampaignReport, lag_s: float, group_by: str | None) -> dict[str, Any]:
    content: dict[str, Any] = {
        "campaign": found.campaign.slug,
        "from": found.period.first.isoformat(),
        "to": found.period.last.isoformat(),
        "timezone": found.timezone,
        "as_of": instant(found.as_of),
        "lag_s": round(lag_s, 3),
        "filters": dict(found.filters.given),
        "by": found.axis.name.lower(),
        "totals": totals(found.totals),
    }
    if found.previous and found.previous_period:
        content["previous"] = totals(found.previous)
        content["changes"] = {name: difference(change) for name, change in (found.changes or {}).items()}
    content["series"] = [point(step) for step in found.series]
    if found.week is not None:
        content["groups"] = [weekhour(each) for each in found.week]
    elif group_by:
        content["groups"] = [group(each) for each in found.groups[group_by]]
        content["cost_not_assigned"] = [money(amount) for amount in found.not_assigned.get(group_by, [])]
    return content
