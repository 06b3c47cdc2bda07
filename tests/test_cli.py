"""The commands as a person types them, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from tracker import accounts
from tracker.config import Settings
from tracker.models import Workspace

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SPRING = ("--campaign", "spring-sale", "--source", "newsletter", "--medium", "email")


@pytest.fixture
def run(settings: Settings) -> Run:
    def run(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        environ = os.environ | {
            "TRACKER_DATA_DIR": str(settings.data_dir),
            "TRACKER_BASE_URL": str(settings.base_url),
            "COLUMNS": "160",
        }
        command = [sys.executable, "-m", "tracker.cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environ, input=typed, timeout=100)

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


def test_a_token_is_all_that_is_printed(run: Run, session: Session, workspace: Workspace) -> None:
    made = run("token", "create", "reports")
    assert made.stdout.count("\n") == 1
    assert accounts.workspace_of_token(session, made.stdout.strip()).id == workspace.id


def test_an_account_is_made_from_standard_input(run: Run, session: Session, workspace: Workspace) -> None:
    assert run("user", "create", "eve@example.org", "--password-stdin", typed="a long password\n").returncode == 0
    assert accounts.sign_in(session, "Eve@example.org", "a long password")
    assert not accounts.sign_in(session, "eve@example.org", "another password")
    assert run("user", "create", "eve@example.org", "--password-stdin", typed="a long password\n").returncode == 1


def test_a_malformed_setting_stops_every_command_with_one_line(settings: Settings) -> None:
    environ = os.environ | {"TRACKER_DATA_DIR": str(settings.data_dir), "TRACKER_DURABILITY": "fast"}
    for command in ("serve", "demo"):
        stopped = subprocess.run(
            [sys.executable, "-m", "tracker.cli", command], capture_output=True, text=True, env=environ, timeout=60
        )
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


def test_a_campaign_that_is_not_there_is_said_so(run: Run) -> None:
    missing = run("report", "nothing")
    assert (missing.returncode, missing.stderr) == (1, "There is no campaign “nothing”.\n")


def test_every_command_is_in_the_readme(run: Run) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    named = re.findall(r"^  (\w+) ", run("--help").stdout.partition("Commands:")[2], re.MULTILINE)
    assert len(named) >= 7
    assert [name for name in named if f"`tracker {name}" not in readme] == []
