"""The ledger against a model of what it should hold, whatever a sender repeats, reorders, delays, cuts short or forges.

The model is written from the contract: it knows nothing of how conversions are stored.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import count, permutations
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tests.databases import examples
from tests.serving import Server
from tracker import clickid, conversions, days
from tracker.claims import Sighting
from tracker.config import Settings
from tracker.models import Conversion, LedgerEntry, Link, Report, Workspace

MakeLink = Callable[..., Link]
HOW_MANY = pytest.mark.parametrize("reports", [400, pytest.param(2_000, marks=pytest.mark.thorough)])
THREADS = 16
APPLIED_WITHIN_S = 30
MINUTE_MS = 60_000
COUNTING = (None, "approved", "pending")
GAP_VALUE = "7.50"  # what a pixel, a refund or a rejection names: it fills a gap and no more


@dataclass(frozen=True)
class Said:
    """One report as its sender means it. `ts` is in seconds."""

    order: str
    cid: str = ""
    status: str | None = None
    value: str | None = None
    ts: int | None = None
    event_id: str | None = None
    pixel: bool = False

    @property
    def params(self) -> dict[str, str]:
        found = {"cid": self.cid, "order": self.order, "status": self.status, "value": self.value}
        found |= {"ts": None if self.ts is None else str(self.ts), "event_id": self.event_id}
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True)
class Stands:
    """What is to be known of a sale: its status, what it counts and what it was worth, in minor units."""

    status: str
    counts: int
    worth: int | None


def minor(value: str) -> int:
    return int(Decimal(value) * 100)


def book(reports: Iterable[Said]) -> Stands:
    """What the contract makes of a sale's reports, each of which names its instant: in no order, each once.

    The latest status that a callback names holds, approved by default; so does the latest value, save that a refund's
    or a rejection's and a pixel's only fill a gap. What is refunded or rejected counts nothing.
    """
    told = sorted({each for each in reports if not each.pixel}, key=lambda each: each.ts or 0)
    statuses = [each.status for each in told if each.status]
    pending = any(each.pixel and each.status == "pending" for each in reports) and not told
    status = statuses[-1] if statuses else "pending" if pending else "approved"
    values = [each.value for each in told if each.value and each.status in COUNTING]
    gaps = [each.value for each in reports if each.value]
    value = values[-1] if values else gaps[0] if gaps else None
    worth = minor(value) if value else None
    return Stands(status, (worth or 0) if status in COUNTING else 0, worth)


def ledger_of(session: Session) -> dict[str, Stands]:
    """What is stored of each order; the ledger's rows have to add up to what counts."""
    session.expire_all()
    sums: dict[int, int] = defaultdict(int)
    last: dict[int, str] = {}
    for row in session.scalars(select(LedgerEntry).order_by(LedgerEntry.id)):
        sums[row.conversion_id] += row.minor
        last[row.conversion_id] = row.status
    found: dict[str, Stands] = {}
    for sale in session.scalars(select(Conversion)):
        assert sale.order_id not in found, "one sale, one conversion"
        assert last[sale.id] == sale.status
        found[sale.order_id or ""] = Stands(sale.status, sums[sale.id], sale.minor)
    return found


class Desk:
    """Where reports come in: each is recorded in a transaction of its own, in the order of arrival."""

    def __init__(self, engine: Engine, workspace_id: int, settings: Settings) -> None:
        self._engine = engine
        self._workspace_id = workspace_id
        self._keys = settings.secrets.keys
        self._nonces = count(1)
        self.now_ms = days.to_ms(days.now())

    def take(self, said: Said | dict[str, str], via: str = "callback", workspace_id: int | None = None) -> str:
        params = said if isinstance(said, dict) else said.params
        if isinstance(said, Said) and said.pixel:
            via = "pixel"
        sighting = Sighting(self.now_ms, next(self._nonces), via)
        while True:
            with Session(self._engine) as own:
                workspace = own.get_one(Workspace, workspace_id or self._workspace_id)
                try:
                    outcome = conversions.record(own, workspace, params, sighting, self._keys)
                    own.commit()
                    return outcome.result
                except OperationalError:  # SQLite has one writer: whoever waited too long tries again
                    own.rollback()


@pytest.fixture
def desk(engine: Engine, workspace: Workspace, settings: Settings) -> Desk:
    return Desk(engine, workspace.id, settings)


class Clicks:
    """Click ids as the edge makes them, of a link an hour ago."""

    def __init__(self, key: clickid.Key, link_id: int, at_ms: int) -> None:
        self.key, self.link_id, self.at_ms = key, link_id, at_ms
        self._nonces = count(1)

    def __call__(self) -> str:
        return clickid.make(self.key, self.link_id, self.at_ms, next(self._nonces))


@pytest.fixture
def cid(settings: Settings, make_link: MakeLink, desk: Desk) -> Clicks:
    return Clicks(settings.secrets.click_key, make_link().id, desk.now_ms - 60 * MINUTE_MS)


def reports_of(order: str, cid: str, now_s: int) -> st.SearchStrategy[list[Said]]:
    """Some reports of one sale. Each callback names an instant of its own; what a sender may leave out is left out."""
    status = st.sampled_from([None, "pending", "approved", "rejected", "refunded"])
    value = st.sampled_from([None, "49.90", "39.90", "0.00", "100.00"])

    def build(made: Sequence[tuple[str | None, str | None, bool]]) -> list[Said]:
        found = []
        for number, (word, worth, pixel) in enumerate(made):
            if pixel or word in ("rejected", "refunded"):
                worth = GAP_VALUE if worth else None
            if pixel:
                found.append(Said(order, cid, None, worth, pixel=True))
            else:
                found.append(Said(order, cid, word, worth, ts=now_s - 3_000 + number))
        return found

    return st.lists(st.tuples(status, value, st.booleans()), min_size=1, max_size=6).map(build)


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_in_whatever_order_and_however_often_reports_come_the_ledger_holds_the_same(
    desk: Desk, cid: Clicks, session: Session, data: st.DataObject
) -> None:
    order = f"H-{next(desk._nonces)}"
    said = data.draw(reports_of(order, cid(), desk.now_ms // 1000))
    repeats = data.draw(st.lists(st.sampled_from(said), max_size=4))
    for each in data.draw(st.permutations(said + repeats)):
        desk.take(each)
    assert ledger_of(session)[order] == book(said)


@pytest.mark.parametrize("words", list(permutations(["pending", "approved", "refunded"])), ids=" ".join)
def test_without_instants_a_later_stage_stands_whichever_report_came_late(
    desk: Desk, cid: Clicks, session: Session, words: tuple[str, ...]
) -> None:
    sale = cid()
    for word in words:
        desk.take(Said("1", sale, word, "49.90" if word != "refunded" else None))
    assert ledger_of(session)["1"] == Stands("refunded", 0, 4990)


def test_a_repeat_changes_nothing_whenever_it_comes(desk: Desk, cid: Clicks, session: Session) -> None:
    sale = Said("1", cid(), "approved", "49.90")
    told = [sale, replace(sale, status="refunded"), sale, replace(sale, cid=sale.cid[:20]), replace(sale, cid="")]
    assert [desk.take(each) for each in told] == ["recorded", "updated", "duplicate", "duplicate", "duplicate"]
    assert ledger_of(session)["1"] == Stands("refunded", 0, 4990)


@pytest.mark.parametrize("news", [{"event_id": "e2"}, {"ts": 60}])
def test_who_wants_to_return_to_an_earlier_state_names_a_new_event_or_instant(
    desk: Desk, cid: Clicks, session: Session, news: dict[str, str | int]
) -> None:
    sale = Said("1", cid(), "approved", "49.90", event_id="e1")
    desk.take(sale)
    desk.take(replace(sale, status="refunded", event_id="e9"))
    again = replace(sale, event_id=news.get("event_id"), ts=desk.now_ms // 1000 - 60 if "ts" in news else None)
    assert desk.take(again) == "updated"
    assert ledger_of(session)["1"] == Stands("approved", 4990, 4990)


def test_an_event_is_taken_once_from_each_side_and_the_other_fills_what_is_missing(
    desk: Desk, cid: Clicks, session: Session
) -> None:
    sale = Said("1", cid(), event_id="e1")
    assert desk.take(replace(sale, pixel=True)) == "recorded"
    assert desk.take(replace(sale, value="49.90")) == "updated"
    assert desk.take(replace(sale, value="99.00")) == "duplicate"
    assert desk.take(replace(sale, value="99.00", pixel=True)) == "duplicate"
    assert ledger_of(session)["1"] == Stands("approved", 4990, 4990)


def test_a_refund_that_comes_before_its_sale_stands_and_the_sale_fills_the_value(
    desk: Desk, cid: Clicks, session: Session
) -> None:
    sale = Said("1", cid())
    desk.take(replace(sale, status="refunded", value="10.00"))
    desk.take(replace(sale, status="approved", value="49.90"))
    assert ledger_of(session)["1"] == Stands("refunded", 0, 4990)
    desk.take(replace(sale, status="approved", ts=desk.now_ms // 1000))
    assert ledger_of(session)["1"] == Stands("approved", 4990, 4990)


def test_a_change_of_currency_leaves_a_row_in_each(desk: Desk, cid: Clicks, session: Session) -> None:
    sale = Said("1", cid()).params
    for value, currency in (("49.90", "EUR"), ("6000", "JPY"), ("5000", "JPY")):
        desk.take(sale | {"value": value, "currency": currency})
    desk.take(sale | {"status": "refunded"})
    rows = [(row.status, row.minor, row.currency, row.via) for row in session.scalars(select(LedgerEntry))]
    assert rows == [
        ("approved", 4990, "EUR", "callback"),
        ("approved", -4990, "EUR", "callback"),
        ("approved", 6000, "JPY", "callback"),
        ("approved", -1000, "JPY", "callback"),
        ("refunded", -5000, "JPY", "callback"),
    ]


def test_a_pixel_takes_no_sale_back_and_a_callback_approves_what_a_pixel_left_open(
    desk: Desk, cid: Clicks, session: Session
) -> None:
    sale = Said("1", cid(), value="49.90")
    assert desk.take(replace(sale, status="refunded", pixel=True)) == "refused"
    assert desk.take(replace(sale, status="pending", pixel=True)) == "recorded"
    assert desk.take(sale) == "updated"
    assert desk.take(replace(sale, status="pending", value="1.00", pixel=True)) == "duplicate"
    assert ledger_of(session)["1"] == Stands("approved", 4990, 4990)


@HOW_MANY
def test_reports_at_once_leave_what_the_model_says(
    desk: Desk, cid: Clicks, session: Session, settings: Settings, reports: int
) -> None:
    chance = random.Random(20261125)
    other = Workspace(name="Theirs", key="w_theirs")
    session.add(other)
    session.commit()
    honest, dishonest = traffic(chance, cid, desk.now_ms // 1000, reports)
    foreign = [(each.params | {"order": f"X-{each.order}"}, other.id) for each in honest[:50]]
    session.rollback()
    work: list[tuple[Said | dict[str, str], int | None]] = [
        *((each, None) for each in honest),
        *((each, None) for each in dishonest),
        *foreign,
    ]
    chance.shuffle(work)
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(lambda each: desk.take(each[0], workspace_id=each[1]), work))
    expected: dict[str, list[Said]] = defaultdict(list)
    for each in honest:
        expected[each.order].append(each)
    assert ledger_of(session) == {order: book(said) for order, said in expected.items()}
    assert results.count("recorded") == len(expected)
    assert session.query(Report).count() == len(work), "every report is kept, whatever became of it"


def traffic(
    chance: random.Random, cid: Callable[[], str], now_s: int, n: int
) -> tuple[list[Said], list[dict[str, str]]]:
    """Reports of a careless sender's sales, and those that must come to nothing."""
    honest: list[Said] = []
    while len(honest) < n * 3 // 4:
        sale = Said(f"A-{len(honest)}", cid(), None, f"{chance.randrange(1, 10_000)}.90", ts=now_s - 3_000)
        story = [sale, replace(sale, status="approved", ts=now_s - 2_900)]
        if chance.random() < 0.5:
            story.append(replace(sale, status="refunded", value=None, ts=now_s - 2_000))
        if chance.random() < 0.3:
            story.append(replace(sale, value="5.00", ts=now_s - 1_900))
        if chance.random() < 0.5:
            story.append(Said(sale.order, sale.cid, None, GAP_VALUE, pixel=True))
        honest += story + chance.choices(story, k=4)
    return honest, [forged(chance, cid(), number) for number in range(n // 4)]


def forged(chance: random.Random, cid: str, number: int) -> dict[str, str]:
    """A report whose click id is damaged, made up, or of a key that we never had; or whose body was cut."""
    sale = {"order": f"F-{number}", "value": "99.00", "status": "approved"}
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    place = chance.randrange(len(cid))
    flipped = cid[:place] + chance.choice(alphabet.replace(cid[place], "")) + cid[place + 1 :]
    wrong_key = clickid.make(clickid.Key(1, b"another"), 1, 10**12, number)
    bad = [cid[: chance.randrange(1, 28)], flipped, wrong_key, cid + "A", cid.swapcase(), "{clickid}", " " * 28]
    if number % 8 == 7:
        return {"cid": cid, "order": f"F-{number}", "value": "99.", "status": "appro"}
    return sale | {"cid": bad[number % 8]}


@pytest.mark.any_database
@HOW_MANY
def test_reports_over_http_leave_what_the_model_says(tmp_path: Path, reports: int) -> None:
    chance = random.Random(4711)
    with Server(tmp_path / "data") as server:
        made = server.api(
            "POST",
            "/links",
            {"destination": "https://shop.example/", "campaign": "c", "source": "s", "medium": "m", "code": "go"},
        )
        key = server.api("GET", "/workspace")["key"]
        browser = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}
        answer = server.request("GET", f"/{made['code']}", browser)
        assert answer.status == 302
        secrets = Settings.from_env(server.environ).secrets
        genuine = clickid.read(answer.headers["Location"].partition("cid=")[2][:28], secrets.click_keys)
        assert genuine is not None
        cid = Clicks(secrets.click_key, genuine.link_id, genuine.at_ms - 60 * MINUTE_MS)
        honest, dishonest = traffic(chance, cid, genuine.at_ms // 1000, reports)
        honest = [replace(each, pixel=False, ts=each.ts or genuine.at_ms // 1000 - 3_100) for each in honest]
        bodies = [urlencode(each.params).encode() for each in honest] + [urlencode(each).encode() for each in dishonest]
        chance.shuffle(bodies)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        with ThreadPoolExecutor(THREADS) as pool:
            answers = list(pool.map(lambda body: server.request("POST", f"/c/{key}", form, body), bodies))
        assert {answer.status for answer in answers} <= {200, 202, 422}
        expected: dict[str, list[Said]] = defaultdict(list)
        for each in honest:
            expected[each.order].append(each)
        wanted = {
            order: (stands.status, f"{Decimal(stands.worth or 0) / 100:.2f}")
            for order, stands in ((order, book(said)) for order, said in expected.items())
        }
        deadline = time.monotonic() + APPLIED_WITHIN_S  # what was queued, because others held the database, comes in
        while (found := sales_of(server)) != wanted:
            assert time.monotonic() < deadline, set(wanted.items()) ^ set(found.items())


def sales_of(server: Server) -> dict[str, tuple[str, str]]:
    """Status and value of every order, over the API."""
    found: dict[str, tuple[str, str]] = {}
    cursor = ""
    while True:
        page = server.api("GET", f"/conversions?limit=200{cursor}")
        found |= {row["order"]: (row["status"], row["value"]) for row in page["items"]}
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"
