"""A report as an e-mail: the last seven whole days beside the seven before, as text and as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import cache
from zoneinfo import ZoneInfo

from babel.dates import format_interval
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from sqlalchemy.orm import Session

from tracker import days
from tracker.campaigning import ReportMail
from tracker.models import Campaign, Workspace
from tracker.money import Money
from tracker.reports import campaign as reports
from tracker.reports import comparison, overview
from tracker.reports.campaign import Period
from tracker.reports.comparison import Difference
from tracker.reports.grouping import Group
from tracker.reports.metrics import Rate, Totals
from tracker.resources import resource_dir
from tracker.stores import EventStore

LENGTH_DAYS = 7
LINKS_SHOWN = 5
CAMPAIGNS_SHOWN = 30
FEW = 10  # of which a change in percent says nothing
NONE = "–"


@dataclass(frozen=True, slots=True)
class Line:
    """A figure of this week and of the week before, and what became of it, all in words."""

    name: str
    now: str
    before: str
    change: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A link, or a campaign, with its main figures in the order of `Table.columns`."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """`left` more entries are not shown."""

    title: str
    columns: tuple[str, ...]
    entries: list[Entry]
    left: int


def compose(
    session: Session,
    store: EventStore,
    mail: ReportMail,
    *,
    sender: str,
    public_url: str,
    now: datetime,
) -> EmailMessage:
    """The mail to one on the list. Raises ValueError where a name of it would break out of its header."""
    workspace = session.get_one(Workspace, mail.workspace_id)
    campaign = session.get_one(Campaign, mail.campaign_id) if mail.campaign_id else None
    yesterday = days.today(ZoneInfo(workspace.timezone), now) - timedelta(days=1)
    period = Period(yesterday - timedelta(days=LENGTH_DAYS - 1), yesterday)
    title = campaign.name if campaign else workspace.name
    if campaign:
        lines, table = _of_campaign(session, store, workspace, campaign, period, now)
    else:
        lines, table = _of_all(session, store, workspace, period)
    leave_url = f"{public_url}/s/mail/{mail.token}"
    content = {
        "title": title,
        "span": span(period),
        "before": span(period.before),
        "timezone": workspace.timezone,
        "lines": lines,
        "table": table,
        "report_url": f"{public_url}/app/campaigns/{campaign.slug}" if campaign else f"{public_url}/app/",
        "leave_url": leave_url,
    }
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"] = sender, mail.recipient
    message["Subject"] = f"{title}: {span(period)}"
    message["Date"] = format_datetime(now)
    # The same for a second try on the same day, so that a mail taken twice can be told for one.
    message["Message-ID"] = f"<report-{mail.id}-{now:%Y%m%d}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    message["List-Unsubscribe"] = f"<{leave_url}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"  # RFC 8058
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notice comes back
    message.set_content(_rendered("report.txt", content), cte="quoted-printable")
    message.add_alternative(_rendered("report.html", content), subtype="html", cte="quoted-printable")
    return message


def _of_campaign(
    session: Session, store: EventStore, workspace: Workspace, campaign: Campaign, period: Period, now: datetime
) -> tuple[list[Line], Table]:
    found = reports.build(
        session, store, workspace, campaign, period, now=now, compare=True, group_by=["link"], marks=False
    )
    links = [group for group in found.groups["link"] if group.totals.clicks or group.totals.conversions]
    entries = [Entry(_link(group), _cells(group.totals)) for group in links[:LINKS_SHOWN]]
    table = Table("The busiest links", _COLUMNS, entries, max(0, len(links) - LINKS_SHOWN))
    return lines_of(found.totals, found.previous or found.totals), table


def _of_all(session: Session, store: EventStore, workspace: Workspace, period: Period) -> tuple[list[Line], Table]:
    found = overview.build(session, store, workspace, period, period.before)
    busy = [line for line in found.lines if line.totals.clicks or line.totals.impressions or line.totals.conversions]
    entries = [
        Entry(line.campaign.name, (*_cells(line.totals), _change(line.totals.clicks, line.before.clicks)))
        for line in busy[:CAMPAIGNS_SHOWN]
        if line.campaign and line.before
    ]
    table = Table("Campaigns", (*_COLUMNS, "Clicks against before"), entries, max(0, len(busy) - CAMPAIGNS_SHOWN))
    return lines_of(found.all.totals, found.all.before or found.all.totals), table


_COLUMNS = ("Clicks", "CTR", "Conversions", "Conv. rate", "Revenue")


def _cells(found: Totals) -> tuple[str, ...]:
    rates = percent(found.ctr), percent(found.conversion_rate)
    return number(found.clicks), rates[0], number(found.conversions), rates[1], money(found.revenue)


def _link(group: Group) -> str:
    return (group.links[0].title or group.links[0].code) if group.links else "without a link"


def lines_of(now: Totals, before: Totals) -> list[Line]:
    """Each figure as on the campaign's page."""
    changes = comparison.changes(now, before)
    found = [
        _count("Impressions", now.impressions, before.impressions),
        _count("Clicks", now.clicks, before.clicks),
        _count("Daily unique clicks", now.unique_clicks, before.unique_clicks),
        Line("Click-through rate", percent(now.ctr), percent(before.ctr), _points(changes["ctr"])),
        _count("Conversions", now.conversions, before.conversions),
        Line(
            "Conversion rate",
            percent(now.conversion_rate),
            percent(before.conversion_rate),
            _points(changes["conversion_rate"]),
        ),
    ]
    found.append(Line("Revenue", money(now.revenue), money(before.revenue), ""))
    if now.cost or before.cost:
        found.append(Line("Cost", money(now.cost or []), money(before.cost or []), ""))
        found.append(Line("Return on ad spend", times(now.roas), times(before.roas), ""))
    return found


def _count(name: str, now: int, before: int) -> Line:
    return Line(name, number(now), number(before), _change(now, before))


def _change(now: int, before: int) -> str:
    """In percent where there was enough before for that to mean something."""
    return f"{now - before:+,}" if before < FEW else f"{round((now - before) / before * 100):+,}\N{NO-BREAK SPACE}%"


def _points(found: Difference | None) -> str:
    if found is None:
        return ""
    verdict = "" if found.low is None else ", likely real" if found.is_real else ", could be chance"
    return f"{found.difference * 100:+.1f} points{verdict}"


def number(n: int) -> str:
    return f"{n:,}"


def percent(rate: Rate) -> str:
    if rate.value is None:
        return NONE
    places = 2 if 0 < rate.value < 0.01 else 1
    return f"{rate.value * 100:.{places}f} %"


def times(value: Decimal | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def money(amounts: list[Money]) -> str:
    return ", ".join(f"{amount.amount} {amount.currency}" for amount in amounts) or NONE


def span(period: Period) -> str:
    return format_interval(period.first, period.last, "yMMMd", locale="en_GB")


def _rendered(name: str, content: Mapping[str, object]) -> str:
    return _templates().get_template(name).render(content)


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(resource_dir("templates") / "mail"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
