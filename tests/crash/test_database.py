"""The database taken away under load, and one that hangs: links redirect meanwhile, and everything is stored later."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests import databases
from tests.conftest import BROWSER
from tests.crash.accounts import LINK, ROUNDS, answered, check, load, settle
from tests.serving import Server
from tracker import signing
from tracker.config import Settings
from tracker.extensions import open_engine
from tracker.models import Report, Workspace

AWAY_S = 3 * ROUNDS


def known_everywhere(server: Server) -> None:
    """Lets every worker come across the link, as it does where there is any traffic."""
    for _ in range(40):
        server.request("GET", "/crash", {"User-Agent": BROWSER})


def accept_signatures(database: databases.Database) -> str:
    """Makes a secret, and has signatures looked at where there are any."""
    engine = open_engine(Settings.from_env(database.environ).database_url)
    with Session(engine) as session:
        workspace = session.scalars(select(Workspace)).one()
        secret = signing.create(session, workspace)
        workspace.signature_mode = "accepted"
        session.commit()
    engine.dispose()
    return secret


@pytest.mark.timeout(300 + 20 * ROUNDS)
@databases.of_a_server
@pytest.mark.parametrize("how", ["stopped", "hanging"])
def test_without_its_database_it_redirects_and_catches_up_afterwards(tmp_path: Path, how: str) -> None:
    database = databases.of(tmp_path / "data")
    with Server(tmp_path / "data") as server:
        server.api("POST", "/links", LINK)
        known_everywhere(server)
        key = server.api("GET", "/workspace")["key"]
        secret = accept_signatures(database)
        with load(server, tmp_path / "seen"):
            time.sleep(1)
            (database.stop if how == "stopped" else database.freeze)()
            try:
                before = len(answered(tmp_path).clicks)
                time.sleep(AWAY_S)
                assert len(answered(tmp_path).clicks) > before + 20 * AWAY_S, "redirects wait for the database"
                assert server.request("GET", "/i/never-seen.gif").status == 200
                if how == "stopped":
                    # Kept in the spool, or in a SQLite file that was open before it was hidden.
                    reported = server.request("POST", f"/c/{key}", body=b"cid=x&order=while-away&value=1")
                    assert reported.status == 202
                    signed = b"cid=x&order=signed-away&value=1&event_id=e1"
                    header = {signing.HEADER: signing.header(secret, int(time.time()), signed)}
                    # Again by whoever listened; and as the shop's own retry, signed anew, would be.
                    answers = [server.request("POST", f"/c/{key}", header, signed).status for _ in range(3)]
                    assert answers[0] == 202
                    assert set(answers) <= {202, 401}
                    wrong = {signing.HEADER: header[signing.HEADER][:-1] + "x"}
                    assert server.request("POST", f"/c/{key}", wrong, signed).status in (202, 401)
            finally:
                (database.start if how == "stopped" else database.thaw)()
            time.sleep(1)
        settle(server)
        assert server.request("GET", "/readyz").status == 200
    assert answered(tmp_path).refused == []
    check(tmp_path / "data", tmp_path)
    if how == "stopped":
        engine = open_engine(Settings.from_env(database.environ).database_url)
        with engine.connect() as connection:
            found = connection.execute(select(Report.params, Report.result, Report.reason, Report.signed)).all()
        engine.dispose()
        reports = Counter(row.params.get("order") for row in found)
        assert reports["while-away"] == 1
        taken = [row for row in found if row.params.get("order") == "signed-away"]
        assert [(row.result, row.signed) for row in taken if row.reason not in ("replayed", "bad_signature")] == [
            ("unmatched", True)
        ]
