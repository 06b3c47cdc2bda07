"""Exports of advertising networks as they come: headers, titles, sums, marks and dates of several makes."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from tests import commands
from tracker import campaigns, costfile, costs, costsheet
from tracker.config import Settings
from tracker.costfile import Plan
from tracker.errors import Invalid, NotFound
from tracker.models import Campaign, Link, Workspace
from tracker.money import Money

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

GOOGLE = """Campaign report
"November 1, 2026 - November 3, 2026"
Campaign status,Campaign,Day,Currency code,Cost,Impr.,Clicks,CTR
Enabled,Spring Sale,2026-11-01,EUR,"1,204.50","12,345",310,2.51%
Enabled,Spring Sale,2026-11-02,EUR,0.00,0,0, --
Paused,brand,2026-11-01,EUR,7.25,90,4,4.44%
Enabled,"Autumn, old",2026-11-01,EUR,3.10,10,1,10.00%
"Total: Campaigns", --, --,EUR,"1,214.85","12,445",315,2.53%
"Total: Account", --, --,EUR,"1,214.85","12,445",315,2.53%
"""
GOOGLE_GERMAN = (
    "Kampagnenbericht\n1. November 2026 - 3. November 2026\n"
    "Kampagne\tTag\tWährungscode\tKosten\tImpr.\tKlicks\n"
    "Spring Sale\t2026-11-01\tEUR\t1.204,50\t12.345\t310\n"
    "Spring Sale\t2026-11-02\tEUR\t12,00\t1.000\t3\n"
    "Gesamt: Konto\t --\tEUR\t1.216,50\t13.345\t313\n"
)
META = """\ufeffCampaign name,Day,Delivery,Amount spent (USD),Impressions,Link clicks,Reporting starts,Reporting ends
,2026-11-01,,35.5,900,12,2026-11-01,2026-11-02
spring-sale,2026-11-01,active,20.25,500,7,2026-11-01,2026-11-02
spring-sale,2026-11-02,active,15.25,400,5,2026-11-01,2026-11-02
"""
META_GERMAN = """Kampagnenname;Berichtsstart;Berichtsende;Ausgegebener Betrag (EUR);Impressionen;Link-Klicks
Spring Sale;2026-11-01;2026-11-07;70,00;500;7
"""
MICROSOFT = """"Report Name: Costs"
"Report Time: 11/1/2026,11/14/2026"
"Time Zone: (GMT+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna"
"Last Completed Available Day: 11/20/2026 11:59:00 PM (GMT)"
"Report Aggregation: Daily"
"Report Filter: "
"Potential Incomplete Data: false"
"Rows: 2"

"Gregorian date","Account name","Campaign name","Currency code","Impressions","Clicks","Spend"
"11/1/2026","Shop","Spring Sale","EUR","1000","12","8.40"
"11/14/2026","Shop","Spring Sale","EUR","1100","13","9.10"

"©2026 Microsoft Corporation. All rights reserved. "
"""
OWN = """campaign,from,to,amount,currency,source,link,clicks
spring-sale,2026-11-01,2026-11-07,70.00,EUR,,,
spring-sale,2026-11-01,,5.5,EUR,newsletter,,3
"""


@pytest.fixture
def campaign(session: Session, workspace: Workspace, make_link: MakeLink) -> Campaign:
    campaign = make_link().campaign
    return campaigns.edit(session, campaign, name="Spring Sale")


@pytest.fixture
def plan(session: Session, workspace: Workspace, campaign: Campaign) -> Callable[..., Plan]:
    def plan(text: str | bytes, *, day_first: bool | None = None, **given: object) -> Plan:
        content = text.encode() if isinstance(text, str) else text
        sheet = costsheet.read(content, workspace.currency, day_first=day_first)
        return costfile.plan(session, workspace, sheet, **given)  # type: ignore[arg-type]

    return plan


def entries(found: Plan) -> list[tuple[date, date, Money, int | None, int | None]]:
    return [
        (each.entry.first_on, each.entry.last_on, each.entry.spent, each.entry.impressions, each.entry.clicks)
        for each in found.planned
    ]


def november(number: int) -> date:
    return date(2026, 11, number)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_googles_export_is_read_without_titles_and_sums(plan: Callable[..., Plan], encoding: str) -> None:
    found = plan(GOOGLE.encode(encoding))
    assert found.sheet.format.origin == "google"
    assert found.sheet.skipped == 2
    assert entries(found) == [
        (november(1), november(1), Money(120_450, "EUR"), 12_345, 310),
        (november(2), november(2), Money(0, "EUR"), 0, 0),
    ]
    assert [(each.name, each.rows, each.sums, each.reason) for each in found.unmatched] == [
        ("brand", [6], [Money(725, "EUR")], "No campaign is called so."),
        ("Autumn, old", [7], [Money(310, "EUR")], "No campaign is called so."),
    ]
    assert found.may_be_stored


def test_googles_german_export_in_utf_16_with_tabs_has_commas(plan: Callable[..., Plan]) -> None:
    found = plan(GOOGLE_GERMAN.encode("utf-16"))
    assert entries(found) == [
        (november(1), november(1), Money(120_450, "EUR"), 12_345, 310),
        (november(2), november(2), Money(1200, "EUR"), 1000, 3),
    ]
    assert found.sheet.skipped == 1


def test_metas_export_names_its_currency_in_the_header_and_sums_up_first(plan: Callable[..., Plan]) -> None:
    found = plan(META)
    assert (found.sheet.format.origin, found.sheet.skipped, found.sheet.has_currency) == ("meta", 1, True)
    assert entries(found) == [
        (november(1), november(1), Money(2025, "USD"), 500, 7),
        (november(2), november(2), Money(1525, "USD"), 400, 5),
    ]


def test_metas_export_without_days_is_a_span(plan: Callable[..., Plan]) -> None:
    assert entries(plan(META_GERMAN)) == [(november(1), november(7), Money(7000, "EUR"), 500, 7)]


def test_microsofts_export_has_american_dates_and_a_line_below(plan: Callable[..., Plan]) -> None:
    found = plan(MICROSOFT)
    assert (found.sheet.format.origin, found.sheet.skipped) == ("microsoft", 1)
    assert [(first, spent.minor) for first, _, spent, _, _ in entries(found)] == [
        (november(1), 840),
        (november(14), 910),
    ]


def test_dates_that_can_be_read_two_ways_are_asked_about(plan: Callable[..., Plan]) -> None:
    either = MICROSOFT.replace("11/14/2026", "11/2/2026")
    found = plan(either)
    assert found.sheet.asks_order
    assert not found.may_be_stored
    assert [each[0] for each in entries(plan(either, day_first=False))] == [november(1), november(2)]
    assert [each[0] for each in entries(plan(either, day_first=True))] == [date(2026, 1, 11), date(2026, 2, 11)]
    # Where one of them tells, nobody is asked and no answer is heard.
    assert [each[0] for each in entries(plan(MICROSOFT, day_first=True))] == [november(1), november(14)]


def test_our_own_columns_know_sources_links_and_spans(plan: Callable[..., Plan], make_link: MakeLink) -> None:
    link = make_link(content="hero")
    found = plan(OWN + f"SPRING-SALE,2026-11-02,,1,EUR,,{link.code},\nspring-sale,2026-11-02,,1,EUR,,nope,\n")
    assert [(each.entry.scope, each.entry.spent.minor) for each in found.planned] == [
        ("", 7000),
        ("source:newsletter", 550),
        (f"link:{link.id}", 100),
    ]
    assert found.faults == [(5, "The campaign has no link “nope”.")]
    assert not found.may_be_stored


def test_a_source_can_be_given_for_the_whole_file(plan: Callable[..., Plan]) -> None:
    assert {each.entry.scope for each in plan(GOOGLE, source="google").planned} == {"source:google"}
    with pytest.raises(Invalid):
        plan(GOOGLE, source="a\nb")


def test_rows_of_one_campaign_and_day_are_added_up_before_they_are_rounded(plan: Callable[..., Plan]) -> None:
    rows = "".join(
        f"spring-sale,2026-11-01,{amount},{n}\n" for amount, n in [("0.004", 1), ("0.004", 2), ("0.004", "")]
    )
    assert entries(plan("Campaign,Day,Cost,Clicks\n" + rows)) == [
        (november(1), november(1), Money(1, "EUR"), None, 3),
    ]


def test_millionths_are_read_where_a_file_has_them(plan: Callable[..., Plan]) -> None:
    found = plan("Campaign,Day,Cost (micros),Currency code\nspring-sale,2026-11-01,12345678,EUR\n")
    assert entries(found)[0][2] == Money(1235, "EUR")


def test_names_are_matched_by_value_name_or_slug_in_any_case_and_never_guessed(
    plan: Callable[..., Plan], session: Session, workspace: Workspace
) -> None:
    twin = campaigns.create(session, workspace, "Spring_Sale", "SPRING SALE")
    other = campaigns.create(session, workspace, "winter", "Winter in the North")
    row = "{},2026-11-01,1.00,EUR\n".format
    text = "Campaign,Day,Cost,Currency\n" + "".join(
        map(row, ["spring-sale", "SPRING SALE", "Winter", "winter in the north", "WINTER", "spring_sale"])
    )
    found = plan(text)
    assert sorted((each.campaign.utm_campaign, each.entry.spent.minor) for each in found.planned) == [
        ("Spring_Sale", 100),
        ("spring-sale", 100),
        ("winter", 300),
    ]
    assert [(each.name, each.reason) for each in found.unmatched] == [
        ("SPRING SALE", f"It may be spring-sale, {twin.slug}."),
    ]
    chosen = plan(text, choices={"SPRING SALE": other.slug})
    assert {each.campaign.slug: each.entry.spent.minor for each in chosen.planned}[other.slug] == 400
    assert chosen.unmatched == []


def test_the_same_file_twice_changes_nothing_and_a_later_one_replaces_its_days(
    plan: Callable[..., Plan], session: Session, workspace: Workspace, campaign: Campaign
) -> None:
    first = plan(GOOGLE)
    assert first.counts == {"new": 2}
    assert costfile.store(session, workspace, first, now=NOW) == (2, 0, 0)
    again = plan(GOOGLE)
    assert again.counts == {"unchanged": 2}
    assert costfile.store(session, workspace, again, now=NOW) == (0, 0, 2)
    later = plan(GOOGLE.replace("0.00,0,0", "4.00,9,1"))
    assert later.counts == {"replaced": 1, "unchanged": 1}
    assert costfile.store(session, workspace, later, now=NOW) == (0, 1, 1)
    found = costs.listed(session, campaign, before_id=None, limit=9)
    assert sorted((cost.first_on.day, cost.minor, cost.origin) for cost in found) == [
        (1, 120_450, "google"),
        (2, 400, "google"),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("Spring Sale,2026-11-31,EUR,1.00", "There is no day"),
        ("Spring Sale,yesterday,EUR,1.00", "is no day"),
        ("Spring Sale,1812-11-01,EUR,1.00", "A day lies between"),
        ("Spring Sale,2026-11-01,EUR,twelve", "is no amount"),
        ("Spring Sale,2026-11-01,EUR,1.2.3", "is no amount"),
        ('Spring Sale,2026-11-01,EUR,"12,34.00"', "is no amount"),
        ("Spring Sale,2026-11-01,XXX,1.00", "is no currency"),
        ("Spring Sale,2026-11-01,EUR,100000000000000.00", "at most"),
        (",2026-11-01,EUR,1.00", "no campaign"),
        ("Spring Sale,2026-11-02,USD,1.00", "in EUR and USD on the same day"),
    ],
)
def test_of_a_file_with_a_row_that_cannot_be_read_nothing_is_stored(
    plan: Callable[..., Plan], session: Session, workspace: Workspace, campaign: Campaign, row: str, reason: str
) -> None:
    text = f"Campaign,Day,Currency code,Cost\nSpring Sale,2026-11-02,EUR,1.00\nSpring Sale,2026-11-03,EUR,1.50\n{row}\n"
    found = plan(text)
    assert [fault.row for fault in found.faults] == [4]
    assert reason in found.faults[0].reason
    with pytest.raises(Invalid):
        costfile.store(session, workspace, found, now=NOW)
    assert costs.listed(session, campaign, before_id=None, limit=9) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "No export"),
        (b"name,mail\na,b\n", "No export"),
        (b"Campaign,Cost,Clicks\nSpring Sale,1.00,1\n", "Google Ads, but has no day"),
        (b"Campaign name,Amount spent (EUR)\nSpring Sale,1.00\n", "Meta Ads Manager, but has no day"),
        ("Kampagne;Tag;Währung;Kosten\n".encode("latin-1"), "not in UTF-8"),
        (b"\xff\xfeC\x00\x00", "not in UTF-8"),
        (b'Campaign,Day,Cost\nx,2026-11-01,1.50\ny,2026-11-01,"1,50"\n', "a point"),
        (b"Campaign,Day,Cost\n" + b"x,2026-11-01,1\n" * 50_001, "At most 50,000 rows"),
        (b"PK\x03\x04" + bytes(range(256)) * 20, "not in UTF-8"),
    ],
)
def test_what_is_no_export_is_refused_as_a_whole(content: bytes, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        costsheet.read(content, "EUR")
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("amounts", "wanted"),
    [
        (["1.234,50", "12,00"], ["1234.50", "12"]),
        (["1,234.50", "12"], ["1234.50", "12"]),
        (["€1,234", "€0.50"], ["1234", "0.50"]),
        (["1.234 €", "0,50 €"], ["1234", "0.50"]),
        (["1'234.50", "CHF 2"], ["1234.50", "2"]),
        (["1 234,50", "2"], ["1234.50", "2"]),
        (["1,234,567"], ["1234567"]),
        (["-3.50", "−1.00"], ["-3.50", "-1"]),
        (["1,234"], ["1234"]),
        (["0.125"], ["0.125"]),
        (["--", ""], ["0", "0"]),
    ],
)
def test_cents_are_parted_by_what_the_file_itself_tells(amounts: list[str], wanted: list[str]) -> None:
    rows = "".join(f'x,2026-11-01,"{amount}"\n' for amount in amounts)
    found = costsheet.read(f"Campaign,Day,Cost\n{rows}".encode(), "EUR")
    assert found.faults == []
    assert [line.amount for line in found.lines] == [Decimal(text) for text in wanted]


def test_in_a_german_file_a_lone_point_parts_thousands() -> None:
    found = costsheet.read(b"Kampagne;Tag;Kosten\nx;1.11.2026;1.234\n", "EUR")
    assert [(line.first, line.amount) for line in found.lines] == [(november(1), Decimal(1234))]


@given(st.binary(max_size=400))
def test_whatever_a_file_holds_it_is_read_or_refused(content: bytes) -> None:
    for before in (b"", b"Campaign,Day,Cost\n", b"Kampagnenname;Tag;Ausgegebener Betrag (EUR);Berichtsstart\n"):
        try:
            found = costsheet.read(before + content, "EUR")
        except Invalid:
            continue
        assert all(line.first <= line.last for line in found.lines)


def test_a_file_waits_for_a_day_for_its_own_workspace_only(tmp_path: Path, workspace: Workspace) -> None:
    kept = costfile.keep(tmp_path, workspace, io.BytesIO(GOOGLE.encode()), NOW)
    assert costfile.find(tmp_path, workspace, kept.name).content() == GOOGLE.encode()
    assert kept.path.stat().st_mode & 0o777 == 0o600
    for name in ("../../etc/passwd", kept.name.replace(f"w{workspace.id}-", "w999-"), kept.name[:-1]):
        with pytest.raises(NotFound):
            costfile.find(tmp_path, workspace, name)
    costfile.keep(tmp_path, workspace, io.BytesIO(b"x"), NOW + timedelta(days=2))
    with pytest.raises(NotFound):
        costfile.find(tmp_path, workspace, kept.name)
    with pytest.raises(Invalid):
        costfile.keep(tmp_path, workspace, io.BytesIO(b"x" * (costfile.BYTES_MAX + 1)), NOW)


def test_the_command_stores_a_file_all_or_none(settings: Settings, session: Session, campaign: Campaign) -> None:
    def run(text: str, *options: str) -> subprocess.CompletedProcess[str]:
        environ = os.environ | {
            "TRACKER_DATA_DIR": str(settings.data_dir),
            "TRACKER_DATABASE_URL": settings.database_url,
        }
        return commands.run("cost", "import", "-", "--json", *options, environ=environ, typed=text)

    def stored() -> int:
        session.expire_all()
        return len(costs.listed(session, campaign, before_id=None, limit=9))

    tried = run(GOOGLE, "--dry-run")
    assert json.loads(tried.stdout) == {"format": "google", "new": 2, "replaced": 0, "unchanged": 0, "left_out": 2}
    assert "“brand” is left out, 7.25 EUR: No campaign is called so." in tried.stderr
    assert stored() == 0
    refused = run(GOOGLE.replace("2026-11-02,EUR", "2026-11-31,EUR"))
    assert refused.returncode == 1
    assert "row 5: There is no day “2026-11-31”." in refused.stderr
    assert stored() == 0
    done = run(GOOGLE, "--source", "google", "--map", "brand=spring-sale")
    assert json.loads(done.stdout)["left_out"] == 1
    assert sorted((cost.scope, cost.minor) for cost in costs.listed(session, campaign, before_id=None, limit=9)) == [
        ("source:google", 0),
        ("source:google", 121_175),
    ]
    assert run(MICROSOFT.replace("11/14/2026", "11/2/2026")).returncode == 1
