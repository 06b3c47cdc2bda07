"""A month of plausible traffic for a newcomer, made of spool records that the loader takes like any others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.progress import Progress
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from tracker import changelog, clickcost, clickid, costs, customers, days, links
from tracker.campaigning import ChangeEntry
from tracker.config import Settings
from tracker.costs import Entry
from tracker.destinations import OwnDomain
from tracker.edge.spool import Spool
from tracker.errors import Invalid
from tracker.events import Event, Kind, Verdict, encode
from tracker.links import LinkDraft
from tracker.models import Campaign, Link, Workspace
from tracker.money import Money
from tracker.pipeline.loader import Loader
from tracker.stores import open_store

DAYS = 30
PEOPLE = 20_000
CUSTOMERS = 97
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LONGEST_VISIT_MS = 100_000
FEE_MINOR = 24_000
BROWSERS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:143.0) Gecko/20100101 Firefox/143.0",
)
BOTS = (
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "python-requests/2.32.5",
)
REFERRERS = ("", "", "https://mail.google.com/", "https://l.facebook.com/", "https://www.google.com/")
# Where people are, how many of them, what they speak, and a network of that country: nobody is asked there, and an
# address is hashed and gone once its country is known.
HOMES = (
    ("2003:e0", 34, "de-DE,de;q=0.9,en;q=0.7"),
    ("2a02:8388", 8, "de-AT,de;q=0.9"),
    ("2a02:1210", 7, "de-CH,fr-CH;q=0.8"),
    ("2a01:cb00", 14, "fr-FR,fr;q=0.9"),
    ("2a02:c7f", 12, "en-GB,en;q=0.9"),
    ("2600:1700", 13, "en-US,en;q=0.9"),
    ("2001:b07", 6, "it-IT,it;q=0.9"),
    ("2804:14c", 3, "pt-BR,pt;q=0.9"),
    ("fd00", 3, "en"),
)
# More of them than in REFERRERS: a month knows more sites than a minute.
SITES = (
    *REFERRERS * 4,
    "https://www.instagram.com/",
    "https://www.linkedin.com/",
    "https://www.bing.com/",
    "https://chatgpt.com/",
    "https://www.youtube.com/",
    "https://eur01.safelinks.protection.outlook.com/",
    "https://news.example/teapots",
    "android-app://com.slack/",
)


NOTE = "An evening on local radio: the spring sale was named twice."


class Sort(NamedTuple):
    """A link of the demo with the chances that make its traffic."""

    campaign: str
    source: str
    medium: str
    content: str
    share: float
    click: float
    convert: float
    has_pixel: bool
    cents: int = 0  # what a click costs, more or less


SORTS = (
    Sort("demo-spring-sale", "newsletter", "email", "hero-a", 0.26, 0.037, 0.055, True),
    Sort("demo-spring-sale", "newsletter", "email", "hero-b", 0.26, 0.049, 0.060, True),
    Sort("demo-spring-sale", "newsletter", "email", "text-only", 0.18, 0.034, 0.050, True),
    Sort("demo-spring-sale", "google", "cpc", "brand", 0.10, 0.50, 0.080, False, 85),
    Sort("demo-autumn-launch", "facebook", "paid_social", "video", 0.12, 0.35, 0.020, False, 32),
    Sort("demo-autumn-launch", "partner", "referral", "banner", 0.08, 0.012, 0.030, True),
)


@dataclass(frozen=True)
class Result:
    """What was made: campaigns' slugs, and how many events."""

    campaigns: list[str]
    events: int


def fill(
    settings: Settings, engine: Engine, session: Session, workspace: Workspace, *, seed: int, console: Console
) -> Result:
    """Makes links and a month of hits up to now, and loads them. Raises Invalid where the demo is there already."""
    campaigns = {sort.campaign for sort in SORTS}
    known = select(Campaign.id).where(Campaign.workspace_id == workspace.id, Campaign.utm_campaign.in_(campaigns))
    if session.scalar(known):
        raise Invalid({"demo": "This workspace has the demo's campaigns already."})
    made = {sort: _make(session, workspace, sort, settings) for sort in SORTS}
    _spend(session, workspace, made, days.now())
    _tell(session, workspace, made, days.now())
    spool = Spool(settings.spool_dir, durable=False, segment_bytes=settings.spool_segment_bytes, bytes_max=1 << 40)
    with Progress(console=console) as progress:
        writing = progress.add_task("A month of traffic", total=PEOPLE)
        story = _Story(settings, workspace, made, random.Random(seed), days.now())  # noqa: S311 (a demo, no secret)
        happened: list[Event] = []
        for events in story.people():
            happened += events
            progress.advance(writing)
        # In the order of time, as they would have come.
        for event in sorted(happened, key=lambda event: event.at_ms):
            spool.append(encode(event))
        spool.close()
        written = len(happened)
        loading = progress.add_task("Loading", total=written)
        Loader(settings, engine, open_store(engine)).drain(lambda loaded: progress.advance(loading, loaded))
        progress.update(loading, completed=written)
    return Result(sorted({link.campaign.slug for link in made.values()}), written)


def _make(session: Session, workspace: Workspace, sort: Sort, settings: Settings) -> Link:
    draft = LinkDraft(
        destination=f"https://shop.example/{sort.campaign}",
        campaign=sort.campaign,
        source=sort.source,
        medium=sort.medium,
        content=sort.content,
        title=f"Demo: {sort.content}",
        cost_param="cost" if sort.cents else None,
    )
    return links.create(session, workspace, draft, OwnDomain((settings.public_url,)))


def _spend(session: Session, workspace: Workspace, made: dict[Sort, Link], now: datetime) -> None:
    """What the newsletter's provider takes for the month; clicks that are paid for tell of themselves."""
    today = days.today(ZoneInfo(workspace.timezone), now)
    link = next(link for sort, link in made.items() if sort.source == "newsletter")
    month = (today - timedelta(days=DAYS), today - timedelta(days=1))
    fee = Entry(link.campaign_id, *month, Money(FEE_MINOR, workspace.currency), link.source)
    costs.put(session, workspace, [fee], origin="form", now=now)


def _tell(session: Session, workspace: Workspace, made: dict[Sort, Link], now: datetime) -> None:
    """A history for the change log: the demo's links are as old as their traffic, and some things were changed."""
    ids = [link.id for link in made.values()], [link.campaign_id for link in made.values()]
    theirs = ChangeEntry.link_id.in_(ids[0]) | ChangeEntry.campaign_id.in_(ids[1])
    session.execute(update(ChangeEntry).where(theirs).values(at_ms=days.to_ms(now - timedelta(days=DAYS + 1))))
    spring = made[SORTS[0]].campaign
    hero = next(link for sort, link in made.items() if sort.content == "hero-b")
    spring.budget_minor, spring.budget_currency = 150_000, "EUR"
    edits = (
        (26, "budget", None, [("budget", None, "1000.00 EUR")]),
        (15, "link", hero.id, [("destination", f"{hero.destination}/teapots", hero.destination)]),
        (6, "budget", None, [("budget", "1000.00 EUR", "1500.00 EUR")]),
    )
    for days_ago, kind, link_id, fields in edits:
        changelog.record(
            session,
            workspace_id=workspace.id,
            kind=kind,
            campaign_id=spring.id,
            link_id=link_id,
            fields=fields,
            at=now - timedelta(days=days_ago),
        )
    changelog.note(session, workspace, spring, NOTE, now - timedelta(days=10))


class _Story:
    """People of one month, each met by some link: they see it, perhaps click, perhaps buy."""

    def __init__(
        self, settings: Settings, workspace: Workspace, made: dict[Sort, Link], chance: random.Random, now: datetime
    ) -> None:
        self._key = settings.secrets.click_key
        self._customer_key = settings.secrets.customer_key
        self._workspace = workspace
        self._made = made
        self._chance = chance
        self._now_ms = days.to_ms(now)
        self._orders = 0

    def people(self) -> Iterator[list[Event]]:
        for person in range(PEOPLE):
            yield list(self._person(person))

    def _person(self, person: int) -> Iterator[Event]:
        chance = self._chance
        sort = chance.choices(SORTS, [each.share for each in SORTS])[0]
        at_ms = self._instant()
        bot = chance.random() < 0.012
        agent = chance.choice(BOTS if bot else BROWSERS)
        network, _, language = chance.choices(HOMES, [home[1] for home in HOMES])[0]
        address = f"{network}:{person >> 8 & 0xFFFF:x}:{person & 0xFF:x}::1"
        base = self._event(Kind.IMPRESSION, sort, at_ms, agent, address)._replace(language=language)
        if sort.has_pixel:
            yield base
        if chance.random() > (0.5 if bot else sort.click):
            return
        click = base._replace(kind=int(Kind.CLICK), at_ms=at_ms + chance.randint(2_000, 90_000), nonce=self._nonce())
        click = click._replace(cost=self._cost(sort))
        if chance.random() < 0.03:
            yield click._replace(verdict=int(Verdict.PREFETCH), nonce=self._nonce())
        yield click
        if not bot and chance.random() < sort.convert:
            if chance.random() < 0.4:
                yield self._earlier(click, sort)
            yield from self._sale(click)

    def _earlier(self, click: Event, sort: Sort) -> Event:
        """The same person's click an hour or so before, on another link of the campaign."""
        chance = self._chance
        other = chance.choice([each for each in SORTS if each.campaign == sort.campaign and each != sort])
        link, cost = self._made[other], self._cost(other)
        at_ms = click.at_ms - chance.randint(600_000, 2 * HOUR_MS)
        return click._replace(at_ms=at_ms, nonce=self._nonce(), link_id=link.id, code=link.code, cost=cost)

    def _cost(self, sort: Sort) -> str:
        """What a network puts into a paid link for a click, now and then nothing but its macro."""
        if not sort.cents:
            return ""
        micros = self._chance.randint(sort.cents * 6_000, sort.cents * 14_000)
        return clickcost.amount(micros) if self._chance.random() > 0.01 else "{cost}"

    def _instant(self) -> int:
        """Some instant of the month, busier by day and towards the end, never after now."""
        chance = self._chance
        days_ago = int(DAYS * chance.betavariate(1.0, 1.3))
        hour = min(23.99, max(0.0, chance.gauss(14, 4)))
        midnight_ms = self._now_ms // DAY_MS * DAY_MS
        at_ms = midnight_ms - days_ago * DAY_MS + int(hour * HOUR_MS)
        latest_ms = self._now_ms - LONGEST_VISIT_MS
        return at_ms if at_ms < latest_ms else chance.randint(min(midnight_ms, latest_ms - HOUR_MS), latest_ms)

    def _nonce(self) -> int:
        return self._chance.getrandbits(40)

    def _event(self, kind: Kind, sort: Sort, at_ms: int, agent: str, address: str) -> Event:
        link = self._made[sort]
        return Event(
            kind=int(kind),
            at_ms=at_ms,
            nonce=self._nonce(),
            verdict=int(Verdict.COUNTED),
            link_id=link.id,
            code=link.code,
            address=address,
            agent=agent,
            referrer=self._chance.choice(SITES),
            language="en",
            gpc=False,
        )

    def _sale(self, click: Event) -> Iterator[Event]:
        """Most buy at once, some days later; what lies ahead of now is still to come."""
        self._orders += 1
        cid = clickid.make(self._key, click.link_id, click.at_ms, click.nonce)
        cents = self._chance.choice((1990, 2990, 4990, 4990, 8900))
        at_ms = click.at_ms + self._chance.randint(60_000, 2 * HOUR_MS)
        if self._chance.random() < 0.3:
            at_ms += int(self._chance.expovariate(1 / (2 * DAY_MS)))
        if at_ms > self._now_ms:
            return
        query = (
            f"cid={cid}&order=demo-{self._orders}&value={cents // 100}.{cents % 100:02d}&customer={self._customer()}"
        )
        yield click._replace(
            kind=int(Kind.CONVERSION),
            at_ms=at_ms,
            nonce=self._nonce(),
            code=self._workspace.key,
            link_id=0,
            params=customers.seal(query, self._customer_key),
            cost="",
        )

    def _customer(self) -> str:
        """One of fewer people than there are sales: some buy again."""
        return f"customer-{self._orders**2 % CUSTOMERS}@shop.example"
