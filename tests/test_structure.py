"""Imports point down one list only, and files and functions stay readable."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_database

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "tracker"

# From the top down: a module may import from its own row and from those below it.
ROWS = (
    ("cli", "gunicorn_conf", "migrating"),
    ("cli_conversions", "cli_costs", "cli_keys", "cli_privacy", "cli_rollups", "server"),
    ("app", "demo", "installation", "linkfile", "printing"),
    ("web",),
    ("api",),
    ("services",),
    ("edge",),
    ("pipeline",),
    ("schema",),
    ("jobs",),
    ("mailing",),
    ("letters", "shares"),
    ("reports",),
    ("audit", "bulk", "corrections", "debugging", "inbox"),
    ("conversionfile", "costfile"),
    ("aside", "audiences", "checking", "conversions", "destinationchecks", "links", "privacy", "snippets"),
    ("callers", "paths", "received", "settling"),
    ("credited",),
    ("ledger",),
    ("costsheet", "matching", "signing"),
    ("campaigns", "accounts", "claims", "costs", "filters", "testcodes"),
    ("matchkeys", "rates"),
    ("changelog",),
    ("destinations", "changes", "saleaudit"),
    ("salesums",),
    ("stores",),
    ("migrations",),
    ("reported", "campaigning"),
    ("models", "sums", "summing"),
    ("config", "dataversion", "extensions", "fetching", "metering"),
    ("sheets", "answers"),
    ("errors", "events", "losses"),
    ("customers", "clickcost"),
    (
        *("utm", "codes", "clickid", "credits", "identities", "money", "days", "agents"),
        *("channels", "countries", "addresses", "allowance", "smtp", "resources"),
    ),
)
RANK = {name: rank for rank, row in enumerate(ROWS) for name in row}
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "versions" not in path.parts)


def area(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> set[str]:
    """The areas of ours that a module imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "tracker":
            found |= {alias.name for alias in node.names if not alias.name.startswith("__")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tracker."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("tracker.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = area(path)
    if own == "__init__":
        assert not imported(ast.parse(path.read_text()))
        return
    for other in imported(ast.parse(path.read_text())):
        assert other == own or RANK[other] > RANK[own], f"{own} must not import {other}"


def test_pure_modules_import_nothing_of_ours() -> None:
    for name in ROWS[-1]:
        assert imported(ast.parse((PACKAGE / f"{name}.py").read_text())) == set()


def test_who_asks_the_store_knows_only_what_every_store_does() -> None:
    for path in MODULES:
        if area(path) not in ("stores", "migrations"):
            assert not re.search(r"^from tracker\.stores\.|^import tracker\.stores", path.read_text(), re.MULTILINE), (
                path
            )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_are_short_enough_to_read(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= FILE_LINES_MAX
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name}: {length} lines"
            assert node.returns is not None, f"{node.name} does not say what it returns"
