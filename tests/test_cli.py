"""The commands as a person types them, in processes of their own."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from tests import commands
from tracker import accounts
from tracker.config import Settings
from tracker.models import Link, Workspace
from tracker.stores import Batch, EventStore, StoredEvent

pytestmark = pytest.mark.any_database

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SPRING = ("--campaign", "spring-sale", "--source", "newsletter", "--medium", "email")


@pytest.fixture
def run(settings: Settings) -> Run:
    def run(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        environ = os.environ | {
            "TRACKER_DATA_DIR": str(settings.data_dir),
            "TRACKER_DATABASE_URL": settings.database_url,
            "TRACKER_BASE_URL": str(settings.base_url),
            "COLUMNS": "160",
        }
        return commands.run(*arguments, environ=environ, typed=typed)

    return run


def test_a_link_is_made_and_listed(run: Run) -> None:
    made = run("link", "add", "https://shop.example/?a=1#f", *SPRING, "--content", "b", "--code", "cli1")
    assert (made.returncode, made.stdout, made.stderr) == (0, "https://go.example/cli1\n", "")
    full = json.loads(run("link", "add", "https://shop.example/", *SPRING, "--json").stdout)
    assert full["tagged_url"].startswith("https://shop.example/?utm_source=newsletter")
    assert full["campaign"] == {"slug": "spring-sale", "name": "spring-sale"}
    listed = json.loads(run("link", "list", "--json").stdout)
    assert [row["short_url"] for row in listed] == [full["short_url"], "https://go.example/cli1"]
    assert "https://go.example/cli1" in run("link", "list").stdout


def test_a_refusal_names_the_field_on_standard_error(run: Run) -> None:
    refused = run("link", "add", "ftp://x", *SPRING, "--code", "api")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert re.findall(r"^(\w+): \S", refused.stderr, re.MULTILINE) == ["destination", "code"]


SHEET = (
    "code;destination;campaign;source;medium\nb;https://shop.example/;spring;s;m\n;https://shop.example/2;spring;s;m\n"
)


def test_links_are_imported_from_a_file_or_standard_input(run: Run, tmp_path: Path) -> None:
    made = run("link", "import", "-", typed=SHEET)
    assert (made.returncode, made.stderr) == (0, "2 links were made.\n")
    first, second = csv.DictReader(io.StringIO(made.stdout))
    tagged = "https://shop.example/?utm_source=s&utm_medium=m&utm_campaign=spring"
    assert first == {"code": "b", "short_url": "https://go.example/b", "tagged_url": tagged}
    assert second["short_url"] == f"https://go.example/{second['code']}"
    listed = json.loads(run("link", "list", "--json").stdout)
    assert [row["short_url"] for row in listed] == [second["short_url"], first["short_url"]]
    again = run("link", "import", "-", "--output", str(tmp_path / "made.csv"), typed=SHEET)
    assert again.returncode == 1
    assert again.stderr == "row 2, code: “b” is taken; choose another code.\n"
    (tmp_path / "links.csv").write_text("\ufeff" + SHEET.replace("\nb;", "\nd;"))
    dry = run("link", "import", str(tmp_path / "links.csv"), "--dry-run", "--json")
    assert json.loads(dry.stdout) == {"links": 2, "stored": False}
    full = run("link", "import", str(tmp_path / "links.csv"), "--json", "--output", str(tmp_path / "made.csv"))
    assert json.loads(full.stdout) == {"links": 2, "stored": True}
    assert (tmp_path / "made.csv").read_text().splitlines()[1].startswith("d,https://go.example/d,")
    assert len(json.loads(run("link", "list", "--json").stdout)) == 4


def test_an_import_names_rows_and_fields_and_stores_nothing(run: Run) -> None:
    rows = "\nd;https://shop.example/;spring;s;m" + "\n;ftp://x;spring;;m" * 40 + "\n"
    refused = run("link", "import", "-", typed=SHEET.partition("\n")[0] + rows)
    assert (refused.returncode, refused.stdout) == (1, "")
    lines = refused.stderr.splitlines()
    assert lines[:2] == [
        "row 3, destination: A destination starts with http:// or https://.",
        "row 3, source: A source is needed.",
    ]
    assert (len(lines), lines[-1]) == (51, "… and 30 more")
    assert run("link", "list", "--json").stdout == "[]\n"
    unknown = run("link", "import", "-", typed="colour\nred\n")
    assert unknown.stderr.startswith("row 1, colour: There is no such column")


def test_a_place_that_cannot_be_written_stops_an_import_before_it_stores(run: Run, tmp_path: Path) -> None:
    refused = run("link", "import", "-", "--output", str(tmp_path / "nowhere" / "made.csv"), typed=SHEET)
    assert refused.returncode != 0
    assert run("link", "list", "--json").stdout == "[]\n"


def test_a_token_is_all_that_is_printed(run: Run, session: Session, workspace: Workspace) -> None:
    made = run("token", "create", "reports")
    assert made.stdout.count("\n") == 1
    assert accounts.token_of(session, made.stdout.strip()).workspace.id == workspace.id


def test_an_account_is_made_from_standard_input(run: Run, session: Session, workspace: Workspace) -> None:
    assert run("user", "create", "eve@example.org", "--password-stdin", typed="a long password\n").returncode == 0
    assert accounts.sign_in(session, "Eve@example.org", "a long password")
    assert not accounts.sign_in(session, "eve@example.org", "another password")
    assert run("user", "create", "eve@example.org", "--password-stdin", typed="a long password\n").returncode == 1


def test_a_malformed_setting_stops_every_command_with_one_line(settings: Settings) -> None:
    environ = os.environ | {"TRACKER_DATA_DIR": str(settings.data_dir), "TRACKER_DURABILITY": "fast"}
    for command in ("serve", "demo"):
        stopped = commands.run(command, environ=environ)
        assert stopped.returncode == 1
        assert stopped.stderr.count("\n") == 1
        assert "TRACKER_DURABILITY" in stopped.stderr


def test_the_demo_fills_a_month_and_its_report_adds_up(run: Run) -> None:
    made = run("demo")
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines() == [
        "https://go.example/app/campaigns/demo-autumn-launch",
        "https://go.example/app/campaigns/demo-spring-sale",
    ]
    found = json.loads(run("report", "demo-spring-sale", "--group-by", "content", "--json").stdout)
    totals, groups = found["totals"], found["groups"]
    for metric in ("impressions", "clicks", "unique_clicks", "conversions"):
        assert totals[metric] == sum(group[metric] for group in groups) > 0
        assert metric == "unique_clicks" or totals[metric] == sum(step[metric] for step in found["series"])
    assert 0.02 < totals["ctr"]["low"] < totals["ctr"]["value"] < totals["ctr"]["high"] < 0.08
    assert totals["filtered"]["bot"] > 0
    assert all(step["clicks"] for step in found["series"])
    printed = run("report", "demo-spring-sale").stdout
    assert "Today so far" in printed
    assert f"{totals['clicks']:,}" in printed
    again = run("demo")
    assert again.returncode == 1
    assert "demo" in again.stderr


def test_a_report_is_cut_down_and_grouped_on_the_terminal(run: Run, make_link: Callable[..., Link]) -> None:
    make_link()
    printed = run(
        "report", "spring-sale", "--group-by", "country", "--only", "device=mobile", "--only", "content=(none)"
    )
    assert printed.returncode == 0
    assert "Only content=(none), device=mobile" in printed.stdout
    assert "Country" in printed.stdout
    found = json.loads(run("report", "spring-sale", "--group-by", "os", "--only", "country=de", "--json").stdout)
    assert (found["filters"], found["groups"]) == ({"country": "DE"}, [])
    wrongs = (["colour=red"], [f"country={'x' * 300}"], ["country"], ["country=DE", "country=FR"])
    for wrong, name in zip(wrongs, ("colour", "country", "country", "country"), strict=True):
        refused = run("report", "spring-sale", *(part for each in wrong for part in ("--only", each)))
        assert (refused.returncode, refused.stderr.partition(":")[0]) == (1, name)


def test_a_campaign_that_is_not_there_is_said_so(run: Run) -> None:
    missing = run("report", "nothing")
    assert (missing.returncode, missing.stderr) == (1, "There is no campaign “nothing”.\n")


def test_every_command_is_in_the_readme(run: Run) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    named = re.findall(r"^  (\w+) ", run("--help").stdout.partition("Commands:")[2], re.MULTILINE)
    assert len(named) >= 7
    assert [name for name in named if f"`tracker {name}" not in readme] == []


def test_rollups_are_held_against_raw_events_and_repaired(
    run: Run, engine: Engine, store: EventStore, workspace: Workspace
) -> None:
    own, day_ms = (workspace.id, 1, 1), 86_400_000
    rows = [StoredEvent(20_000 * day_ms + n * day_ms // 3, n, 2, 0, *own, n, *[None] * 10) for n in range(9)]
    store.append(Batch("s", 0, 1, rows))
    sound = run("rollups", "verify")
    assert (sound.returncode, sound.stdout) == (
        0,
        "3 days held against their raw events and conversions: no differences.\n",
    )
    with engine.begin() as connection:
        connection.execute(text("UPDATE rollup_days SET n = n + 1 WHERE day = 20001"))
        connection.execute(text("DELETE FROM rollup_steps WHERE bucket / 96 = 20001"))
    wrong = run("rollups", "verify")
    assert wrong.returncode == 1
    assert re.search(r"2024-10-05 +rollup_days ", wrong.stdout)
    assert "`tracker rollups repair`" in wrong.stdout
    assert run("rollups", "verify", "--to", "2024-10-04").returncode == 0
    found = json.loads(run("rollups", "verify", "--from", "2024-10-05", "--to", "2024-10-05", "--json").stdout)
    assert {drift["rollup"] for drift in found} == {"rollup_days", "rollup_steps"}
    assert run("rollups", "repair").stdout == "3 days looked at, the rollups of 1 made anew\n"
    assert run("rollups", "verify").returncode == 0
    assert run("rollups", "pack").stdout == "3 runs of quarters packed\n"
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM event_packs WHERE campaign_id = 1 AND start / 96 = 20001"))
    assert re.search(r"2024-10-05 +event_packs ", run("rollups", "verify").stdout)
