"""Conversions as a CSV file: tried without a trace, recorded once, gone on with after a crash."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests import commands
from tests.conftest import Api
from tests.databases import Database
from tracker import cli_conversions, conversionfile, days
from tracker.config import Settings
from tracker.models import Conversion, LedgerEntry, Link, Report, Workspace

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Upload = Callable[[str], Any]


@pytest.fixture
def cid(client: FlaskClient, make_link: MakeLink) -> str:
    return str(client.get(f"/{make_link().code}").headers["Location"].partition("cid=")[2][:28])


@pytest.fixture
def upload(owner: FlaskClient) -> Upload:
    return lambda text: owner.post("/app/conversions/import", data={"file": (io.BytesIO(text.encode()), "sales.csv")})


def count(session: Session, model: Any) -> int:
    session.expire_all()
    return session.scalar(select(func.count()).select_from(model)) or 0


def through(owner: FlaskClient, page: str, action: str) -> str:
    """Goes on until the page has nothing left to go on with."""
    path = re.search(rf'action="([^"]+/{action})"', page)
    while path:
        answer = owner.post(path[1], follow_redirects=True)
        assert answer.status_code == 200, answer.text
        page = answer.text
        path = re.search(rf'action="([^"]+/{action})"', page)
    return page


def test_a_file_is_tried_first_and_stored_when_told_to(
    owner: FlaskClient, upload: Upload, cid: str, session: Session
) -> None:
    text = f"Order_ID;cid;amount;currency\nA-1;{cid};49.90;EUR\nA-1;{cid};49.90;EUR\nA-2;;5;EUR\nA-3;{cid};ten;EUR\n"
    answer = upload(text)
    assert answer.status_code == 303
    page = owner.get(answer.location).text
    assert "nothing is stored yet" in page
    assert [page.count(f">{word}</span>") for word in ("recorded", "duplicate", "unmatched", "refused")] == [2, 2, 2, 2]
    assert (count(session, Conversion), count(session, Report)) == (0, 0)
    page = through(owner, page, "record")
    assert "Stored" in page
    assert (count(session, Conversion), count(session, Report), count(session, LedgerEntry)) == (1, 4, 1)
    table = list(csv.DictReader(io.StringIO(owner.get(f"{answer.location}/rows.csv").text)))
    assert [(row["row"], row["result"]) for row in table] == [
        ("2", "recorded"),
        ("3", "duplicate"),
        ("4", "unmatched"),
        ("5", "refused"),
    ]
    assert "value" in table[3]["errors"]
    assert [row["order"] for row in table] == ["A-1", "A-1", "A-2", "A-3"]
    table = list(csv.DictReader(io.StringIO(owner.get(f"{answer.location}/errors.csv").text)))
    assert [row["row"] for row in table] == ["4", "5"]
    assert {report.via for report in session.scalars(select(Report))} == {"import"}
    owner.post(f"{answer.location}/drop")
    assert owner.get(answer.location).status_code == 404


def test_the_same_file_again_changes_nothing(owner: FlaskClient, upload: Upload, cid: str, session: Session) -> None:
    text = f"order,cid,value,currency,status\nA-1,{cid},49.90,EUR,approved\nA-1,,,,refunded\n"
    for _ in range(2):
        through(owner, owner.get(upload(text).location).text, "record")
    assert (count(session, Conversion), count(session, LedgerEntry)) == (1, 2)
    sale = session.scalars(select(Conversion)).one()
    assert sale.status == "refunded"


def test_it_goes_on_where_it_was_stopped_and_no_row_is_recorded_twice(
    settings: Settings, session: Session, workspace: Workspace, cid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversionfile, "ROWS_AT_ONCE", 3)
    lines = "".join(f"A-{n},{cid},1\n" for n in range(10))
    file = io.BytesIO(f"order,cid,value\n{lines}".encode())
    keys = settings.secrets.keys
    kept = conversionfile.keep(settings.data_dir, workspace, file, keys, days.now())
    assert conversionfile.go_on(session, workspace, kept, keys, dry_run=False) == 3
    # A crash after the commit and before its lines were written, and one in the middle of a line.
    log = kept.log(dry_run=False)
    log.write_bytes(log.read_bytes().splitlines(keepends=True)[0] + b'{"row": 3, "res')
    found = conversionfile.find(settings.data_dir, workspace, kept.name)
    while conversionfile.go_on(session, workspace, found, keys, dry_run=False) < 10:
        pass
    state = conversionfile.progress(found, dry_run=False)
    assert (state.done, state.results) == (10, {"recorded": 10})
    assert (count(session, Conversion), count(session, Report), count(session, LedgerEntry)) == (10, 10, 10)


def test_whoever_looks_takes_nothing_from_a_line_that_is_being_written(
    owner: FlaskClient, upload: Upload, settings: Settings
) -> None:
    name = upload("order,value\nA-1,1\n").headers["Location"].rpartition("/")[2]
    log = settings.data_dir / conversionfile.FOLDER / f"{name}.tried"
    log.write_bytes(log.read_bytes() + b'{"row": 3, "res')
    before = log.read_bytes()
    assert owner.get(f"/app/conversions/import/{name}").status_code == 200
    assert log.read_bytes() == before


def test_a_file_as_large_as_the_page_says_is_taken_from_a_form_of_ours(app: Flask, owner: FlaskClient) -> None:
    app.config["WTF_CSRF_ENABLED"] = True
    token = re.search(r'name="csrf_token" value="([^"]+)"', owner.get("/app/conversions/import").text)
    assert token is not None
    rows = "".join(f"A-{n},{'x' * 200},1\n" for n in range(25_000))
    file = FileStorage(io.BytesIO(f"order,cid,value\n{rows}".encode()), "sales.csv")
    boundary, body = encode_multipart({"csrf_token": token[1], "file": file})
    kind = f"multipart/form-data; boundary={boundary}"
    answer = owner.post("/app/conversions/import", data=body, content_type=kind)
    assert answer.status_code == 303, answer.text[:400]
    assert owner.post("/app/conversions/import", data={"csrf_token": "forged"}).status_code == 400


def test_a_dry_run_knows_what_its_earlier_rows_would_have_made(
    settings: Settings, session: Session, workspace: Workspace, cid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversionfile, "ROWS_AT_ONCE", 1)
    keys = settings.secrets.keys
    file = io.BytesIO(f"order,cid,value\nA-1,{cid},1\nA-1,{cid},2\n".encode())
    kept = conversionfile.keep(settings.data_dir, workspace, file, keys, days.now())
    conversionfile.go_on(session, workspace, kept, keys, dry_run=True)
    conversionfile.go_on(session, workspace, kept, keys, dry_run=True)
    state = conversionfile.progress(kept, dry_run=True)
    assert state.results == {"recorded": 1, "updated": 1}
    assert count(session, Report) == 0


def test_no_customer_is_written_into_the_data_folder(
    settings: Settings, session: Session, workspace: Workspace, upload: Upload
) -> None:
    upload("order,customer\nA-1,ada@example.org\n")
    [kept] = (settings.data_dir / conversionfile.FOLDER).glob("*.rows")
    assert b"ada@example.org" not in kept.read_bytes()
    assert b"customer_hash" in kept.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_what_waited_for_a_day_is_deleted(
    settings: Settings, workspace: Workspace, upload: Upload, session: Session
) -> None:
    upload("order\nA-1\n")
    folder = settings.data_dir / conversionfile.FOLDER
    [kept] = folder.glob("*.rows")
    conversionfile.clear(settings.data_dir, days.now())
    assert kept.exists()
    conversionfile.clear(settings.data_dir, days.from_ms(days.to_ms(days.now()) + 86_400_001))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "tells sales apart"),
        ("order\n", "no row"),
        ("order,colour\nA-1,red\n", "no such column"),
        ("order,oid\nA-1,A-1\n", "twice"),
        ("value\n1\n", "tells sales apart"),
        ('order\n"A-1\n', "no CSV"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_and_not_kept(
    settings: Settings, upload: Upload, text: str, said: str
) -> None:
    answer = upload(text)
    assert answer.status_code == 422
    assert said in answer.text
    assert list((settings.data_dir / conversionfile.FOLDER).glob("*")) == []


def test_limits_are_named(owner: FlaskClient, upload: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    assert owner.post("/app/conversions/import", data={}).status_code == 422
    monkeypatch.setattr(conversionfile, "ROWS_MAX", 1)
    assert "At most 1 rows" in upload("order\nA\nB\n").text
    monkeypatch.setattr(conversionfile, "BYTES_MAX", 5)
    assert "at most 5 bytes" in upload("order\nA\n").text


def test_an_instant_may_be_written_as_people_do(owner: FlaskClient, upload: Upload, cid: str, session: Session) -> None:
    at = days.now().replace(microsecond=0)
    text = f"order,cid,ts\nA-1,{cid},{at.isoformat()}\nA-2,{cid},2026-01-01T10:00\n"
    page = through(owner, owner.get(upload(text).location).text, "record")
    assert "needs its offset" in page
    assert session.scalars(select(Conversion)).one().told_at_ms == days.to_ms(at)


def test_a_file_is_its_workspaces_own(owner: FlaskClient, upload: Upload, settings: Settings) -> None:
    location = upload("order\nA-1\n").location
    name = location.rpartition("/")[2]
    stranger = name.replace("w1-", "w2-", 1)
    folder = settings.data_dir / conversionfile.FOLDER
    (folder / f"{name}.rows").rename(folder / f"{stranger}.rows")
    for path in (f"/app/conversions/import/{stranger}", "/app/conversions/import/..%2Fx", location):
        assert owner.get(path).status_code == 404


def test_each_row_is_shown_with_what_would_become_of_it(
    owner: FlaskClient, upload: Upload, cid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracker.web.imports.PAGE_SIZE", 2)
    text = f"order,cid,customer\nA-1,{cid},grace@example.org\nA-2,,\nA-3,{cid},\nA-4,{cid},\n"
    path = upload(text).location

    def shown(query: str = "") -> list[str]:
        return re.findall(r"<code>order=(A-\d)</code>", owner.get(path + query).text)

    assert shown() == ["A-1", "A-2"]
    following = re.search(r'href="([^"]+)" rel="next"', owner.get(path).text)
    assert following is not None
    assert shown(following[1].removeprefix(path)) == ["A-3", "A-4"]
    assert shown("?result=unmatched") == ["A-2"]
    assert shown("?result=recorded&after=2") == ["A-3", "A-4"]
    page = owner.get(path).text
    assert "customer_" not in page
    assert "grace@example.org" not in page


def test_what_networks_match_people_by_is_kept_of_a_file_only_where_the_workspace_keeps_it(
    settings: Settings, session: Session, workspace: Workspace
) -> None:
    file = b"order,customer\nA-1,ada@example.org\n"
    for keeps in (False, True):
        workspace.keeps_identities = keeps
        kept = conversionfile.keep(settings.data_dir, workspace, io.BytesIO(file), settings.secrets.keys, days.now())
        [row] = kept.rows()
        assert ("customer_match" in row.cells) is keeps
        assert "customer_hash" in row.cells


def test_the_command_takes_a_file(database: Database, session: Session, cid: str, tmp_path: Path) -> None:
    file = tmp_path / "sales.csv"
    file.write_text(f"order,cid,value\nA-1,{cid},10\nA-2,{cid},x\n")

    def run(*options: str) -> str:
        environ = os.environ | database.environ
        done = commands.run("conversions", "import", str(file), *options, environ=environ, check=True)
        return done.stdout + done.stderr

    assert "Would be: 1 recorded, 1 refused." in run("--dry-run")
    assert count(session, Report) == 0
    assert [row["result"] for row in json.loads(run("--json"))] == ["recorded", "refused"]
    assert "1 duplicate, 1 refused." in run()
    assert count(session, Conversion) == 1


def test_between_its_slices_the_command_lets_others_write(
    database: Database, session: Session, cid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On SQLite the loader would wait for as long as a large file takes, and give up again and again."""
    file = tmp_path / "sales.csv"
    file.write_text("order,cid\n" + "".join(f"A-{number},{cid}\n" for number in range(3)))
    pauses = []

    def write(seconds: float) -> None:
        session.execute(update(Workspace).values(name=f"after {count(session, Conversion)}"))
        session.commit()
        pauses.append(seconds)

    for name, value in database.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(conversionfile, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(cli_conversions.time, "sleep", write)
    done = CliRunner().invoke(cli_conversions.bring_in, [str(file)])
    assert done.exit_code == 0, done.output
    assert pauses == [cli_conversions.PAUSE_S] * 2
    assert session.scalar(select(Workspace.name)) == "after 2"


def test_the_api_takes_a_file(api: Api, cid: str, session: Session, settings: Settings) -> None:
    body = f"order,cid,value,currency\nA-1,{cid},10,EUR\nA-2,{cid},x,EUR\n"
    tried = api("POST", "/conversions/import?dry_run=1", data=body)
    assert (tried.status_code, tried.json["stored"], count(session, Report)) == (200, False, 0)
    done = api("POST", "/conversions/import", data=body)
    assert done.json["results"] == {"recorded": 1, "refused": 1}
    assert done.json["rows"][1]["row"] == 3
    assert count(session, Conversion) == 1
    assert api("POST", "/conversions/import", data="colour\nred\n").status_code == 422
    assert list((settings.data_dir / conversionfile.FOLDER).iterdir()) == []


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/jsonl; charset=utf-8"])
def test_the_api_takes_json_lines(api: Api, cid: str, session: Session, kind: str) -> None:
    lines = [
        json.dumps({"order_id": "A-1", "cid": cid, "value": 10.5, "currency": "EUR", "ts": days.now().isoformat()}),
        "",
        json.dumps({"order": "A-2", "colour": "red"}),
        "[1]",
        "{",
        json.dumps({"order": "A-3", "cid": cid, "value": "ten"}),
    ]
    for dry_run, reports in (("?dry_run=1", 0), ("", 2)):
        done = api("POST", f"/conversions/import{dry_run}", data="\n".join(lines), headers={"Content-Type": kind})
        assert done.status_code == 200, done.text
        assert done.json["results"] == {"recorded": 1, "refused": 4}
        assert [(row["row"], row["result"]) for row in done.json["rows"]] == [
            (1, "recorded"),
            (2, "refused"),
            (3, "refused"),
            (4, "refused"),
            (5, "refused"),
        ]
        assert "colour: There is no such field" in done.json["rows"][1]["errors"]
        assert count(session, Report) == reports
    assert session.scalars(select(Conversion)).one().minor == 1050
