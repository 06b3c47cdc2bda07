"""The lock files: complete, hashed, and free of addresses; the README names what we depend on."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.any_database

ROOT = Path(__file__).parent.parent
LOCKS = ("base", "build", "dev", "fast")
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)( ; [\w<>=!.' ]+)?( --hash=sha256:[0-9a-f]{64})+")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lines(lock: str) -> list[str]:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    return [" ".join(line.split()) for line in text.replace("\\\n", " ").splitlines()]


def pins(lock: str) -> dict[str, str]:
    matches = [PIN.fullmatch(line) for line in lines(lock)]
    return {match["name"]: match["version"] for match in matches if match}


def direct(lock: str) -> list[Requirement]:
    """What pyproject.toml asks for by name, by the lock that has to hold it."""
    runtime = PROJECT["project"]["dependencies"]
    build = PROJECT["build-system"]["requires"] + PROJECT["dependency-groups"]["build"]
    tools = [line for line in PROJECT["dependency-groups"]["dev"] if isinstance(line, str)]
    fast = PROJECT["project"]["optional-dependencies"]["fast"]
    named = {"base": runtime, "build": build, "dev": runtime + build + tools, "fast": fast}
    return [Requirement(line) for line in named[lock]]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_hashed_pins_and_nothing_else(lock: str) -> None:
    """Neither an index's address nor a path: whoever installs chooses where from."""
    assert lines(lock)
    assert [line for line in lines(lock) if not PIN.fullmatch(line)] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_satisfies_what_the_project_asks_for(lock: str) -> None:
    locked = pins(lock)
    unmet = [str(need) for need in direct(lock) if locked.get(canonical(need.name), "") not in need.specifier]
    assert unmet == []


def test_the_locks_agree_with_each_other() -> None:
    dev = pins("dev")
    others = pins("base") | pins("build")
    assert {name: dev.get(name) for name in others} == others


def test_every_dependency_is_in_the_readmes_table() -> None:
    cells = re.findall(r"^\|([^|]+)\|", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    named = {canonical(word) for cell in cells for word in re.findall(r"[A-Za-z0-9][\w.-]*", cell)}
    missing = {canonical(need.name) for need in [*direct("base"), *direct("fast")]} - named
    assert missing == set()
