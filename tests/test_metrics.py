"""The README's table of metrics is the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tracker.reports.metrics import DEFINITIONS

pytestmark = pytest.mark.any_database


def test_the_readmes_table_is_the_codes() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    table = readme.partition("## What counts")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)) == DEFINITIONS
