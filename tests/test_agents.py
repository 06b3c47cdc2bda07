"""Agents in bulk: known bots are found, real browsers are not, and our own tables name whom they mean."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA

from tracker.channels import REWRITERS
from tracker.events import Kind, Verdict
from tracker.pipeline.labels import BOTS, known_bot, rewriter
from tracker.pipeline.rules import DEFAULT
from tracker.pipeline.verdicts import of_agent

pytestmark = pytest.mark.any_database

RECALL_MIN = 0.99
FALSE_POSITIVES_MAX = 0.001


def is_bot(agent: str) -> bool:
    return of_agent(agent, None, Kind.CLICK, DEFAULT).verdict == Verdict.BOT


def test_known_bots_are_found() -> None:
    agents = {agent for entry in CRAWLER_USER_AGENTS_DATA for agent in entry["instances"]}
    missed = sorted(agent for agent in agents if not is_bot(agent))
    assert len(agents) > 2_000
    assert len(missed) <= (1 - RECALL_MIN) * len(agents), missed


def test_real_browsers_are_not_taken_for_bots() -> None:
    lines = (files("fake_useragent") / "data" / "browsers.jsonl").read_text(encoding="utf-8").splitlines()
    agents = {json.loads(line)["useragent"] for line in lines}
    flagged = sorted(agent for agent in agents if is_bot(agent))
    assert len(agents) > 500
    assert len(flagged) <= FALSE_POSITIVES_MAX * len(agents), flagged


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 "
        "Instagram 380.0.0.28.104 (iPhone15,2; iOS 18_5; de_DE; de; scale=3.00; 1179x2556; 733484719)",
        "Mozilla/5.0 (Linux; Android 15; Pixel 9 Build/AP3A.240617.008; wv) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Version/4.0 Chrome/141.0.0.0 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/530.0.0.48.74;]",
        "Mozilla/5.0 (Linux; Android 14; CUBOT KINGKONG 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
        "Mobile Safari/537.36",
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; WOW64; Trident/7.0; Microsoft Outlook 16.0.12026; "
        "ms-office; MSOffice 16)",
    ],
)
def test_people_in_apps_and_mail_programs_are_people(agent: str) -> None:
    assert not is_bot(agent)


def test_no_entry_of_a_table_hides_another() -> None:
    for place, (part, name) in enumerate(BOTS):
        assert known_bot(part) == name
        assert not any(earlier in part for earlier, _ in BOTS[:place])


def test_a_gateways_hosts_are_its_own_and_those_below() -> None:
    for host, name in REWRITERS:
        assert host == host.lower()
        assert (rewriter(host), rewriter(f"a.b.{host}")) == (name, name)
        assert rewriter(f"x{host}") is None
        assert rewriter(f"{host}.example") is None
