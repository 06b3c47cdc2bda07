"""What a campaign's page shows, as JSON and CSV: the same figures, by the same query."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient

from tests.conftest import Api
from tests.test_pages import figure
from tracker import days
from tracker.cli import main
from tracker.config import Settings
from tracker.models import Link

pytestmark = pytest.mark.any_database


@pytest.fixture
def query(
    client: FlaskClient, make_link: Callable[..., Link], send: Callable[..., Any], load: Callable[[], int]
) -> str:
    """Clicks and impressions of today by two links, one of which sold; and the query for today."""
    make_link(code="hero", content="=hero", source="newsletter")
    make_link(code="side", content="side", source="social")
    for n, path in enumerate(("i/hero.gif", "i/hero.gif", "i/hero.gif", "hero", "hero", "side")):
        found = client.get(f"/{path}", environ_base={"REMOTE_ADDR": f"192.0.2.{n}"})
        if n == 3:
            send(cid=found.headers["Location"].partition("cid=")[2][:28], value="49.90", currency="EUR")
    client.get("/hero", headers={"User-Agent": "curl/8.4.0"})
    load()
    today = days.now().date().isoformat()
    return f"from={today}&to={today}"


def table(text: str) -> dict[tuple[str, str], dict[str, str]]:
    """The rows of a CSV by table and key."""
    return {(row["table"], row["key"]): row for row in csv.DictReader(io.StringIO(text))}


@pytest.mark.parametrize("extra", ["", "&source=social", "&by=conversion", "&interval=hour", "&all=link"])
def test_page_json_and_csv_say_the_same(owner: FlaskClient, query: str, extra: str) -> None:
    page = owner.get(f"/app/campaigns/spring-sale?{query}{extra}&open=all").text
    found = owner.get(f"/app/campaigns/spring-sale.json?{query}{extra}").json
    rows = table(owner.get(f"/app/campaigns/spring-sale.csv?{query}{extra}").text)
    totals = found["totals"]
    whole = rows["totals", f"{found['from']}/{found['to']}"]
    for metric in ("impressions", "clicks", "unique_clicks", "conversions"):
        assert figure(page, metric) == str(totals[metric]) == whole[metric]
    for metric in ("ctr", "conversion_rate"):
        value = totals[metric]["value"]
        assert figure(page, metric) == ("–" if value is None else f"{value * 100:.1f} %")
        assert whole[metric] == ("" if value is None else str(value))
    assert figure(page, "revenue") == ("€49.90" if totals["revenue"] else "–")
    assert whole["revenue"] == ("49.90 EUR" if totals["revenue"] else "")
    assert dict(re.findall(r'data-filtered="(\w+)">(\d+)<', page)) == {
        word: str(n) for word, n in totals["filtered"].items()
    }
    names = set(re.findall(r'<section id="by-(\w+)"', page))
    valued = {name for name, groups in found["groups"].items() if any(group["key"] for group in groups)}
    assert valued <= names
    for name, groups in found["groups"].items():
        assert [row["clicks"] for (of, _), row in rows.items() if of == name] == [
            str(each["clicks"]) for each in groups
        ]


def test_the_files_hold_what_the_api_answers(owner: FlaskClient, api: Api, query: str) -> None:
    found = owner.get(f"/app/campaigns/spring-sale.json?{query}&source=newsletter").json
    asked = api(
        "GET", f"/campaigns/spring-sale/stats?{query}&source=newsletter&compare=previous&group_by=link&interval=hour"
    ).json
    moving = {"as_of": "", "lag_s": 0, "groups": found["groups"]["link"]}
    assert asked.pop("cost_not_assigned") == []
    assert asked | moving == {name: value for name, value in (found | moving).items() if name in asked}
    assert asked["groups"] == found["groups"]["link"]
    assert set(found) - set(asked) == {"interval", "previous_from", "previous_to", "previous_series"}


def test_they_are_files_whose_texts_no_spreadsheet_runs(owner: FlaskClient, query: str) -> None:
    for kind in ("csv", "json"):
        response = owner.get(f"/app/campaigns/spring-sale.{kind}?{query}")
        assert response.headers["Content-Disposition"] == f'attachment; filename="spring-sale.{kind}"'
        assert response.headers["Cache-Control"] == "private, no-store"
    rows = table(owner.get(f"/app/campaigns/spring-sale.csv?{query}").text)
    assert ("content", "'=hero") in rows
    assert len({len(row) for row in rows.values()}) == 1


@pytest.mark.parametrize("bad", ["from=never", "country=%00"])
def test_what_the_page_would_not_show_is_no_file(owner: FlaskClient, query: str, bad: str) -> None:
    assert owner.get(f"/app/campaigns/spring-sale.json?{bad}").status_code == 422
    assert owner.get(f"/app/campaigns/spring-sale.csv?{bad}").status_code == 422


def test_the_page_leads_to_files_of_what_it_shows(owner: FlaskClient, query: str) -> None:
    page = owner.get(f"/app/campaigns/spring-sale?{query}&source=social").text.replace("&amp;", "&")
    for href in re.findall(r'href="(/app/campaigns/spring-sale\.(?:csv|json)\?[^"]*)"', page):
        assert "source=social" in href
        assert owner.get(href).status_code == 200
    assert re.search(r'href="/app/campaigns/spring-sale/share\?[^"]*source=social', page)


@pytest.mark.parametrize("only", [[], ["--only", "source=social"], ["--compare", "none"], ["--by", "conversion"]])
def test_the_terminal_has_the_pages_figures(
    owner: FlaskClient, settings: Settings, query: str, only: list[str]
) -> None:
    first = query[5:15]
    asked = "&".join([query, *_as_query(only)])
    page = owner.get(f"/app/campaigns/spring-sale.json?{asked}").json
    environ = {"TRACKER_DATA_DIR": str(settings.data_dir), "TRACKER_DATABASE_URL": settings.database_url}
    command = ["report", "spring-sale", "--from", first, "--to", first, "--group-by", "content", "--json", *only]
    told = CliRunner().invoke(main, command, env=environ, catch_exceptions=False)
    found = json.loads(told.stdout)
    for name in ("totals", "previous", "changes", "filters", "by", "from", "to", "timezone"):
        assert found.get(name) == page.get(name), name
    assert found["groups"] == page["groups"]["content"]


def _as_query(options: list[str]) -> list[str]:
    """What the page's address says for options of the command."""
    pairs = zip(options[::2], options[1::2], strict=True)
    return [value if name == "--only" else f"{name.removeprefix('--')}={value}" for name, value in pairs]
