"""The README's tables of metrics and verdicts are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tracker.events import Verdict
from tracker.reports.metrics import DEFINITIONS

pytestmark = pytest.mark.any_database


README = (Path(__file__).parent.parent / "README.md").read_text()


def section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_verdict_that_is_given_is_in_the_readme() -> None:
    named = {
        word
        for row in re.findall(r"^\| (`.+?`) \| ", section("Verdicts"), re.MULTILINE)
        for word in re.findall(r"\w+", row)
    }
    assert named == {verdict.word for verdict in Verdict}


def test_the_readmes_table_is_the_codes() -> None:
    table = section("What counts")
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)) == DEFINITIONS
