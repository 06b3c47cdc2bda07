"""Two machines on one database, each with its own data folder, spool and loader."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests import databases
from tests.conftest import BROWSER
from tests.serving import Server
from tests.test_serve import SPRING, eventually
from tracker.config import Settings
from tracker.extensions import open_engine
from tracker.stores import open_store


@databases.of_a_server
def test_what_one_machine_changes_the_other_does_and_both_count_into_one_report(tmp_path: Path) -> None:
    here, there = tmp_path / "here" / "data", tmp_path / "there" / "data"
    for folder in (here, there):
        folder.mkdir(parents=True)
    settings = Settings.from_env(databases.of(here).environ)
    with Server(here) as first:
        shutil.copy(here / "secrets.json", there / "secrets.json")
        with Server(there, TRACKER_DATABASE_URL=settings.database_url) as second:
            code = second.api("POST", "/links", SPRING | {"campaign": "two"})["code"]

            def places(server: Server) -> set[str]:
                answers = [server.request("GET", f"/{code}", {"User-Agent": BROWSER}) for _ in range(10)]
                return {answer.headers["Location"].split("/")[2] for answer in answers}

            assert places(first) == places(second) == {"shop.example"}
            first.api("PATCH", f"/links/{code}", {"destination": "https://other.example/"})
            eventually(lambda: places(second), {"other.example"})
            cid = first.request("GET", f"/{code}", {"User-Agent": BROWSER}).headers["Location"].partition("cid=")[2]
            key = second.api("GET", "/workspace")["key"]
            assert (
                second.request("GET", f"/c/{key}.gif?cid={cid}&order=1&value=3", {"User-Agent": BROWSER}).status == 200
            )
            eventually(lambda: first.today("two")["conversions"], 1)
            eventually(lambda: first.hits("two") >= 31, True)
            eventually(lambda: first.today("two") == second.today("two"), True)
    engine = open_engine(settings.database_url)
    store = open_store(engine)
    assert [drift for day in store.whole_days() for drift in store.drifts(day)] == []
    engine.dispose()
