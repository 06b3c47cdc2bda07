"""Stored events judged anew by today's lists: what changes, what stays, and that it can be stopped."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from tests import commands
from tests.conftest import BROWSER
from tests.crowd import CHROME, Crowd, words
from tracker import days
from tracker.cli import main
from tracker.config import Settings
from tracker.events import Verdict
from tracker.models import Link, Workspace
from tracker.pipeline import judging, reclassify
from tracker.pipeline.reclassify import Changes, Reclassification
from tracker.stores import EventStore, Revision, StoredEvent

MakeLink = Callable[..., Link]
Load = Callable[[], int]
Again = Callable[..., Changes]


@pytest.fixture
def again(engine: Engine, store: EventStore, crowd: Crowd) -> Again:
    """Judges everything anew; by default all there is."""

    def again(*, dry_run: bool = False, progress: Callable[[float], None] = lambda _done: None) -> Changes:
        return run_of(engine, store, crowd, dry_run=dry_run).run(progress)

    return again


def run_of(engine: Engine, store: EventStore, crowd: Crowd, *, dry_run: bool = False) -> Reclassification:
    since_ms, now_ms = crowd.clock.now_ms - 40_000_000, crowd.clock.now_ms + 1
    return Reclassification(engine, store, since_ms, None, now_ms=now_ms, dry_run=dry_run)


@pytest.fixture(autouse=True)
def _sums_are_true(store: EventStore) -> Any:
    yield
    assert [drift for day in store.whole_days() for drift in store.drifts(day)] == []


def every(store: EventStore) -> list[StoredEvent]:
    return store.between((0, 0), (2**62, 0), 10_000)


def named(changes: Changes) -> dict[tuple[str, str], int]:
    return {(Verdict(was).word, Verdict(now).word): n for (was, now), n in changes.verdicts.items()}


def test_todays_lists_and_limits_hold_for_what_is_stored(
    crowd: Crowd,
    make_link: MakeLink,
    load: Load,
    store: EventStore,
    again: Again,
    session: Session,
    workspace: Workspace,
) -> None:
    code = make_link().code
    crowd.get(f"/{code}", CHROME + " AcmeApp/1")
    crowd.get(f"/{code}", "curl/8 acme-fetch", "192.0.2.2")
    crowd.clock.forward(1)
    crowd.get(f"/{code}", BROWSER, "192.0.2.3")
    crowd.clock.forward(4)
    crowd.get(f"/{code}", BROWSER, "192.0.2.3")
    load()
    assert words(every(store)) == ["counted", "bot", "counted", "counted"]
    assert named(again()) == {}
    workspace.blocked_agents, workspace.allowed_agents, workspace.double_click_s = ["acmeapp"], ["ACME-fetch"], 5
    session.commit()
    changes = again()
    assert changes.events == 4
    assert named(changes) == {
        ("counted", "bot"): 1,
        ("bot", "counted"): 1,
        ("counted", "double_click"): 1,
    }
    found = every(store)
    assert words(found) == ["bot", "counted", "counted", "double_click"]
    assert [event.rule for event in found] == [
        "block list: “acmeapp”",
        "allow list: “ACME-fetch”",
        None,
        "double click: within 5 s",
    ]
    assert named(again()) == {}


def test_sweeps_and_floods_that_nobody_saw_are_found(
    crowd: Crowd, make_link: MakeLink, load: Load, store: EventStore, again: Again
) -> None:
    """As after an upgrade, or where the hits of one visitor went to several machines."""
    links = [make_link(content=str(number)) for number in range(4)]
    crowd.get(f"/i/{links[0].code}.gif", CHROME)
    crowd.clock.forward(60)
    for link in links:
        crowd.get(f"/{link.code}", CHROME)
    for _ in range(22):
        crowd.get(f"/i/{links[1].code}.gif", BROWSER)
    load()
    judged = every(store)
    assert words(judged).count("scanner") == 5
    store.revise([Revision(*event[:2], Verdict.COUNTED) for event in judged])
    assert named(again()) == {("counted", "scanner"): 5, ("counted", "flood"): 2}
    assert every(store) == judged


def test_what_only_the_edge_or_the_address_could_tell_stays(
    crowd: Crowd,
    make_link: MakeLink,
    load: Load,
    store: EventStore,
    again: Again,
    session: Session,
    workspace: Workspace,
) -> None:
    workspace.excluded_ranges = ["198.51.100.0/24"]
    session.commit()
    link = make_link()
    crowd.get(f"/{link.code}", method="HEAD")
    crowd.get(f"/{link.code}", Sec_Purpose="prefetch")
    crowd.get(f"/{link.code}", address="198.51.100.7")
    crowd.get(f"/{link.code}", Cookie="tracker_optout=1")
    crowd.get(f"/h/{link.code}", address="192.0.2.9")
    crowd.get("/nobodys")
    load()
    before = every(store)
    workspace.excluded_ranges, workspace.allowed_agents = [], ["mozilla"]
    session.commit()
    assert named(again()) == {}
    assert every(store) == before


def test_a_click_that_converted_is_not_left_out(
    crowd: Crowd,
    make_link: MakeLink,
    load: Load,
    store: EventStore,
    again: Again,
    session: Session,
    workspace: Workspace,
) -> None:
    code = make_link().code
    cid = crowd.get(f"/{code}", CHROME).headers["Location"].partition("cid=")[2].partition("#")[0]
    crowd.get(f"/{code}", CHROME, "192.0.2.2")
    crowd.get(f"/c/{workspace.key}.gif?cid={cid}&order=1&value=5", BROWSER)
    load()
    workspace.blocked_agents = ["chrome"]
    session.commit()
    assert named(again()) == {("counted", "bot"): 1}
    assert words(every(store)) == ["counted", "bot", "counted"]


def test_a_rehearsal_tells_the_same_and_changes_nothing(
    crowd: Crowd,
    make_link: MakeLink,
    load: Load,
    store: EventStore,
    again: Again,
    session: Session,
    workspace: Workspace,
) -> None:
    code = make_link().code
    for number in range(5):
        crowd.get(f"/{code}", address=f"192.0.2.{number}")
    load()
    workspace.blocked_agents = ["firefox"]
    session.commit()
    before = every(store)
    rehearsed = again(dry_run=True)
    assert every(store) == before
    assert named(rehearsed) == {("counted", "bot"): 5}
    assert again() == rehearsed


@pytest.mark.parametrize("stopped_after", [0, 1, 2])
def test_a_run_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(
    crowd: Crowd,
    make_link: MakeLink,
    load: Load,
    store: EventStore,
    again: Again,
    engine: Engine,
    session: Session,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    stopped_after: int,
) -> None:
    monkeypatch.setattr(reclassify, "PAGE", 7)
    monkeypatch.setattr(reclassify, "REVISED_AT_ONCE", 3)
    links = [make_link(content=str(number)) for number in range(4)]
    for number in range(12):
        crowd.get(f"/{links[number % 4].code}", CHROME, f"192.0.2.{number % 3}")
        crowd.get(f"/i/{links[0].code}.gif", BROWSER, f"192.0.2.{number}")
        crowd.clock.forward(0.4 if number % 3 else 700)
    load()
    as_found = every(store)
    workspace.double_click_s, workspace.flood_per_min, workspace.blocked_agents = 0, 1, ["firefox"]
    session.commit()
    expected = named(again(dry_run=True))
    again()
    wanted = every(store)
    store.revise([Revision(*event[:2], event.verdict, event.detail, event.rule) for event in as_found])
    assert every(store) == as_found
    pages = iter(range(100))

    def stop(_done: float) -> None:
        if next(pages) == stopped_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        again(progress=stop)
    assert sum(expected.values()) > 5
    run = run_of(engine, store, crowd)
    assert (run.resumed_ms is not None) == (stopped_after > 0)
    run.run()
    assert every(store) == wanted
    assert run_of(engine, store, crowd).resumed_ms is None


def test_a_run_by_other_rules_begins_anew(
    crowd: Crowd,
    make_link: MakeLink,
    load: Load,
    store: EventStore,
    engine: Engine,
    session: Session,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reclassify, "PAGE", 2)
    monkeypatch.setattr(reclassify, "REVISED_AT_ONCE", 1)
    code = make_link().code
    for number in range(6):
        crowd.get(f"/{code}", address=f"192.0.2.{number}")
        crowd.clock.forward(400)
    load()
    workspace.blocked_agents = ["firefox"]
    session.commit()

    def stop(done: float) -> None:
        if done > 0.98:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_of(engine, store, crowd).run(stop)
    assert run_of(engine, store, crowd).resumed_ms is not None
    assert run_of(engine, store, crowd, dry_run=True).resumed_ms is None
    workspace.blocked_agents = []
    session.commit()
    run = run_of(engine, store, crowd)
    assert run.resumed_ms is None
    run.run()
    assert words(every(store)) == ["counted"] * 6


def test_a_conversion_that_is_settled_meanwhile_keeps_its_click(
    crowd: Crowd,
    make_link: MakeLink,
    load: Load,
    store: EventStore,
    engine: Engine,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another machine finds the click counted and is done with it, a moment before the click is taken back."""
    code = make_link().code
    cid = crowd.get(f"/{code}").headers["Location"].partition("cid=")[2].partition("#")[0]
    load()
    (click,) = every(store)
    crowd.get(f"/c/{workspace.key}.gif?cid={cid}&order=1&value=5")
    load()
    answers = iter([set(), {click[:2]}])
    monkeypatch.setattr(judging, "converted", lambda _session, _ids: next(answers))
    judging.revise(engine, store, [Revision(*click[:2], Verdict.SCANNER, "sweep", "sweep: 3 links within 1 s")])
    assert words(every(store))[0] == "counted"


def test_the_command_says_what_changed(
    crowd: Crowd, make_link: MakeLink, load: Load, session: Session, workspace: Workspace, settings: Settings
) -> None:
    code = make_link().code
    for number in range(3):
        crowd.get(f"/{code}", address=f"192.0.2.{number}")
    load()
    workspace.blocked_agents = ["firefox"]
    session.commit()
    environ = os.environ | {
        "TRACKER_DATA_DIR": str(settings.data_dir),
        "TRACKER_DATABASE_URL": settings.database_url,
    }

    def command(*more: str) -> subprocess.CompletedProcess[str]:
        since = days.from_ms(crowd.clock.now_ms).date().isoformat()
        return commands.run("reclassify", "--since", since, *more, environ=environ)

    assert "3 events judged anew, 3 would change." in command("--dry-run").stdout
    told = command("--until", days.from_ms(crowd.clock.now_ms).date().isoformat())
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines()[0] == "3 events judged anew, 3 changed."
    assert told.stdout.split()[-3:] == ["counted", "bot", "3"]
    assert json.loads(command("--json").stdout) == {"events": 3, "changed": [], "relabelled": 0}
    assert command("--since", "yesterday").returncode == 2


def test_a_second_run_is_refused_while_one_is_at_work(
    settings: Settings, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("TRACKER_DATABASE_URL", settings.database_url)
    command = ("reclassify", "--since", "2026-01-01")
    others: list[Result] = []
    tries: Iterator[tuple[str, ...]] = iter([(), ("--dry-run",)])

    def run(_self: Reclassification, _progress: object) -> Changes:
        others.extend(CliRunner().invoke(main, (*command, *more)) for more in tries)
        return Changes()

    with monkeypatch.context() as patched:
        patched.setattr(Reclassification, "run", run)
        assert CliRunner().invoke(main, command).exit_code == 0
    refused, dry = others
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "Another reclassify is at work" in refused.stderr
    assert dry.exit_code == 0
    assert CliRunner().invoke(main, command).exit_code == 0
