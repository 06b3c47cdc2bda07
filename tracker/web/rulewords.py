"""What the rules of audiences are called: in the form that makes them, and as sentences."""

from __future__ import annotations

from collections.abc import Mapping

from tracker.audiences.rules import Bought, Came, Clicked, Condition, Converted, Dated, Top, Worth
from tracker.money import Money
from tracker.web import formats

KINDS = {
    "clicked": "Clicked a campaign",
    "converted": "Converted",
    "bought": "Converted a number of times",
    "top": "Top share by value",
    "worth": "Spent at least",
    "dated": "First or last conversion on a day",
    "came": "Came by source, medium, country or device",
}
PARAMETERS = {
    "campaign": "Campaign",
    "days": "Days back",
    "goal": "Goal",
    "times": "Times at least",
    "percent": "Top, in percent",
    "currency": "Currency",
    "amount": "Amount",
    "which": "Which conversion",
    "when": "When",
    "on": "Day",
    "field": "What of the click",
    "value": "Is",
}
HINTS = {
    "days": "Left empty, ever",
    "goal": "Left empty, any",
    "percent": "Of those who spent in it",
    "value": "As newsletter, DE, mobile",
}
NUMBERS = frozenset({"days", "times", "percent"})
CHOICES = {
    "which": {"first": "the first", "last": "the last"},
    "when": {"before": "before the day", "since": "on the day or after"},
    "field": {"source": "source", "medium": "medium", "country": "country", "device": "device"},
}
DIMENSIONS = {"device": "Device", "country": "Country", "hour": "Hour of the day", "source": "Source"}
STARTS = {
    "clicked-not-converted": ("Clicked, then quiet", "Clicked a campaign, and did not convert in 14 days"),
    "bought-twice": ("Bought twice", "At least two purchases, none of them taken back"),
    "top-tenth": ("Top tenth by value", "The best tenth by what they spent: a seed for look-alikes"),
    "not-for-a-while": ("Not for 90 days", "Bought once, and nothing in the last 90 days"),
}


def start(name: str | None, campaign: str, currency: str) -> tuple[str, list[dict[str, str]]]:
    """The name and the rules of a ready-made audience; an empty one for any other name."""
    rows = {
        "clicked-not-converted": [
            {"kind": "clicked", "campaign": campaign},
            {"kind": "converted", "negated": "1", "days": "14"},
        ],
        "bought-twice": [{"kind": "bought", "times": "2", "goal": "purchase"}],
        "top-tenth": [{"kind": "top", "percent": "10", "currency": currency}],
        "not-for-a-while": [
            {"kind": "bought", "times": "1", "goal": "purchase"},
            {"kind": "converted", "negated": "1", "goal": "purchase", "days": "90"},
        ],
    }
    return (STARTS[name][0], rows[name]) if name in rows else ("", [])


def sentence(condition: Condition, campaigns: Mapping[int, str]) -> str:
    """A condition in words; `campaigns` are names by id."""
    match condition:
        case Clicked(campaign_id, days):
            return f"clicked “{campaigns.get(campaign_id, '?')}”{_lately(days)}"
        case Converted(goal, campaign_id, days):
            by = "" if campaign_id is None else f" by “{campaigns.get(campaign_id, '?')}”"
            return f"converted{_to(goal)}{by}{_lately(days)}"
        case Bought(times, goal, days):
            n = "once" if times == 1 else "twice" if times == 2 else f"{times} times"
            return f"converted at least {n}{_to(goal)}{_lately(days)}"
        case Top(percent, currency):
            return f"among the top {percent} % by what they spent in {currency}"
        case Worth(minor, currency):
            return f"spent at least {formats.money(Money(minor, currency))}"
        case Dated(which, when, on, goal):
            return f"{which} converted{_to(goal)} {when} {formats.day(on)}"
        case Came(field, value):
            return f"came by {field} {formats.value(field, value)}"


def _lately(n_days: int | None) -> str:
    return "" if n_days is None else f" in the last {n_days} {'day' if n_days == 1 else 'days'}"


def _to(goal: str | None) -> str:
    return "" if goal is None else f" to {goal}"
