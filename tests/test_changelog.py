"""The change log: each kind of edit, by page, API and command, leaves one true entry, and a refused one leaves none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, delete, func, select
from sqlalchemy.orm import Session

from tests import commands
from tests.conftest import OWNER, Api
from tests.databases import Database
from tracker import bulk, campaigns, changelog, days, links
from tracker.campaigning import ChangeEntry
from tracker.changelog import Cursor
from tracker.destinations import OwnDomain
from tracker.errors import Invalid
from tracker.links import LinkDraft
from tracker.models import Campaign, Link, Membership, User, Workspace

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]
Entries = Callable[[], list[dict[str, Any]]]
LINK = {"destination": "https://shop.example/", "campaign": "spring-sale", "source": "newsletter", "medium": "email"}
FORM = LINK | {
    "redirect_code": "302",
    "query_mode": "link_wins",
    "click_id": "default",
    "referrer_policy": "unsafe-url",
}
CAMPAIGN = {
    "name": "Spring",
    "attribution_model": "last_click",
    "click_window_days": "30",
    "view_window_days": "1",
    "budget": "",
    "budget_currency": "EUR",
}
FILTERS = {"double_click_s": "2", "flood_per_min": "20"}
OWN = OwnDomain(("https://go.example",))


@pytest.fixture
def told(session: Session) -> Entries:
    """What has been added to the log since it was last asked for: who, kind, campaign, link and fields."""
    seen = {"id": 0}

    def told() -> list[dict[str, Any]]:
        session.rollback()
        found = list(session.scalars(select(ChangeEntry).where(ChangeEntry.id > seen["id"]).order_by(ChangeEntry.id)))
        seen["id"] = max([entry.id for entry in found], default=seen["id"])
        owners, codes = changelog.campaigns_of(session, found), changelog.links_of(session, found)
        return [
            {
                "who": entry.who,
                "kind": entry.kind,
                "campaign": owners[entry.campaign_id].slug if entry.campaign_id else None,
                "link": codes[entry.link_id].code if entry.link_id else None,
                "fields": {name: (was, is_now) for name, was, is_now in entry.fields},
            }
            for entry in found
        ]

    return told


def test_a_link_is_made_edited_and_archived_by_page(owner: FlaskClient, told: Entries) -> None:
    owner.post("/app/links/new", data=FORM | {"code": "spring", "content": "hero-a"})
    campaign, link = told()
    assert campaign == {
        "who": OWNER,
        "kind": "campaign",
        "campaign": "spring-sale",
        "link": None,
        "fields": {"campaign": (None, "spring-sale")},
    }
    assert (link["who"], link["kind"], link["link"]) == (OWNER, "link", "spring")
    assert link["fields"] == {
        name: (None, text) for name, text in (LINK | {"code": "spring", "content": "hero-a"}).items()
    }
    edited = FORM | {"content": "hero-b", "expires_at": "2027-01-31T12:00", "tags": "a, b", "redirect_code": "307"}
    owner.post("/app/links/spring/edit", data=edited)
    (entry,) = told()
    assert entry == {
        "who": OWNER,
        "kind": "link",
        "campaign": "spring-sale",
        "link": "spring",
        "fields": {
            "content": ("hero-a", "hero-b"),
            "tags": (None, "a\nb"),
            "expires_at": (None, "2027-01-31T12:00:00+00:00"),
            "redirect_code": ("302", "307"),
        },
    }
    owner.post("/app/links/spring/edit", data=edited)
    assert told() == []
    owner.post("/app/links/spring/archive")
    owner.post("/app/links/spring/archive")
    owner.post("/app/links/spring/unarchive")
    assert [entry["fields"] for entry in told()] == [{"archived": ("no", "yes")}, {"archived": ("yes", "no")}]


def test_a_link_is_made_edited_and_archived_over_the_api(api: Api, told: Entries) -> None:
    code = api("POST", "/links", LINK).json["code"]
    assert [(entry["who"], entry["kind"]) for entry in told()] == [("token tests", "campaign"), ("token tests", "link")]
    api("PATCH", f"/links/{code}", {"destination": "https://shop.example/new", "click_id_param": "", "archived": True})
    edited, archived = told()
    assert edited["fields"] == {
        "destination": ("https://shop.example/", "https://shop.example/new"),
        "click_id_param": (None, ""),
    }
    assert archived["fields"] == {"archived": ("no", "yes")}
    api("PATCH", f"/links/{code}", {"archived": True, "source": "newsletter"})
    assert told() == []
    api("PATCH", f"/links/{code}", {"archived": False})
    told()
    api("DELETE", f"/links/{code}")
    assert [entry["fields"] for entry in told()] == [{"archived": ("no", "yes")}]


def test_a_link_that_moves_is_told_of_at_both_campaigns(api: Api, told: Entries) -> None:
    code = api("POST", "/links", LINK).json["code"]
    told()
    api("PATCH", f"/links/{code}", {"campaign": "autumn"})
    made, left, came = told()
    assert (made["kind"], made["campaign"]) == ("campaign", "autumn")
    assert [left["campaign"], came["campaign"]] == ["spring-sale", "autumn"]
    assert left["fields"] == came["fields"] == {"campaign": ("spring-sale", "autumn")}


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/links", LINK | {"destination": "ftp://x"}),
        ("/links", LINK | {"code": "taken"}),
        ("/campaigns", {"campaign": "spring-sale"}),
        ("/links/bulk", {"links": [LINK, LINK | {"code": "taken"}]}),
    ],
)
def test_what_is_refused_leaves_no_entry(
    api: Api, make_link: MakeLink, told: Entries, path: str, content: dict[str, Any]
) -> None:
    make_link(code="taken")
    told()
    assert api("POST", path, content).status_code in (409, 422)
    assert told() == []


def test_a_refused_edit_leaves_no_entry(owner: FlaskClient, api: Api, make_link: MakeLink, told: Entries) -> None:
    code = make_link().code
    told()
    refused = [
        api("PATCH", f"/links/{code}", {"source": "other", "destination": "nowhere"}),
        api("PATCH", "/campaigns/spring-sale", {"name": "Other", "click_window_days": 999}),
        api("PATCH", "/campaigns/spring-sale", {"name": "Other", "budget": {"amount": "1,5", "currency": "EUR"}}),
        owner.post("/app/campaigns/spring-sale/settings", data=CAMPAIGN | {"name": "Other", "budget": "much"}),
        owner.post("/app/settings/filters", data=FILTERS | {"blocked_agents": "acme", "excluded_ranges": "nowhere"}),
        owner.post("/app/settings/callback", data={"signature_mode": "required", "callbacks_per_min": "5"}),
        owner.post("/app/settings", data={"workspace": "Ours", "timezone": "Mars/Base", "currency": "CHF"}),
        api("POST", "/campaigns/spring-sale/notes", {"note": "   "}),
    ]
    assert {response.status_code for response in refused} == {422}
    assert told() == []


def test_what_is_rolled_back_leaves_no_entry(
    session: Session, workspace: Workspace, make_link: MakeLink, told: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = make_link()
    told()

    def fail(*_args: object) -> None:
        raise RuntimeError("the database went away")

    monkeypatch.setattr("tracker.changes.announce", fail)
    with pytest.raises(RuntimeError):
        links.edit(session, workspace, link, {"source": "other"}, OWN)
    session.rollback()
    assert told() == []
    assert session.scalar(select(Link.source).where(Link.id == link.id)) == "newsletter"


def test_a_campaign_and_its_budget_are_edited_by_page(owner: FlaskClient, make_link: MakeLink, told: Entries) -> None:
    make_link()
    told()
    path = "/app/campaigns/spring-sale/settings"
    owner.post(path, data=CAMPAIGN | {"click_window_days": "7", "budget": "100", "attribution_model": "linear"})
    edited, budget = told()
    assert (edited["who"], edited["kind"], budget["kind"]) == (OWNER, "campaign", "budget")
    assert edited["fields"] == {
        "name": ("spring-sale", "Spring"),
        "attribution_model": ("last_click", "linear"),
        "click_window_days": ("30", "7"),
    }
    assert budget["fields"] == {"budget": (None, "100.00 EUR")}
    again = CAMPAIGN | {"click_window_days": "7", "attribution_model": "linear"}
    owner.post(path, data=again | {"budget": "100.00"})
    assert told() == []
    page = owner.get(path).text
    assert 'value="100.00"' in page
    owner.post(path, data=again)
    assert [entry["fields"] for entry in told()] == [{"budget": ("100.00 EUR", None)}]


def test_a_campaign_and_its_budget_are_edited_over_the_api(api: Api, told: Entries) -> None:
    assert api("POST", "/campaigns", {"campaign": "spring-sale", "name": "Spring"}).json["budget"] is None
    assert [entry["fields"] for entry in told()] == [{"campaign": (None, "spring-sale"), "name": (None, "Spring")}]
    given = {"budget": {"amount": "1500", "currency": "JPY"}, "name": "Spring"}
    shown = api("PATCH", "/campaigns/spring-sale", given).json
    assert (
        shown["budget"] == {"amount": "1500", "currency": "JPY"} == api("GET", "/campaigns/spring-sale").json["budget"]
    )
    assert [(entry["kind"], entry["fields"]) for entry in told()] == [("budget", {"budget": (None, "1500 JPY")})]
    assert api("PATCH", "/campaigns/spring-sale", {"view_window_days": 0}).json["budget"] == shown["budget"]
    assert [entry["fields"] for entry in told()] == [{"view_window_days": ("1", "0")}]
    assert api("PATCH", "/campaigns/spring-sale", {"budget": None}).json["budget"] is None
    assert [(entry["who"], entry["fields"]) for entry in told()] == [("token tests", {"budget": ("1500 JPY", None)})]


@pytest.mark.parametrize(
    ("budget", "field"),
    [
        ({"amount": "12,50", "currency": "EUR"}, "budget.amount"),
        ({"amount": "0", "currency": "EUR"}, "budget.amount"),
        ({"amount": "-5", "currency": "EUR"}, "budget.amount"),
        ({"amount": "1.5", "currency": "JPY"}, "budget.amount"),
        ({"amount": "5", "currency": "EURO"}, "budget.currency"),
        ({"amount": "5"}, "budget.currency"),
        ({"amount": "", "currency": "EUR"}, "budget.amount"),
        ({"amount": 5, "currency": "EUR"}, "budget.amount"),
    ],
)
def test_a_bad_budget_is_refused_at_its_field(api: Api, budget: dict[str, Any], field: str) -> None:
    api("POST", "/campaigns", {"campaign": "spring-sale"})
    response = api("PATCH", "/campaigns/spring-sale", {"budget": budget})
    assert (response.status_code, [error["field"] for error in response.json["errors"]]) == (422, [field])


def test_rules_and_settings_of_the_workspace_are_told_of(owner: FlaskClient, told: Entries) -> None:
    owner.post("/app/settings/filters", data=FILTERS | {"blocked_agents": "acme\nbolt", "excluded_ranges": "192.0.2.7"})
    owner.post("/app/settings/filters", data=FILTERS | {"blocked_agents": "acme", "double_click_s": "5"})
    first, second = told()
    assert (first["who"], first["kind"], first["campaign"]) == (OWNER, "rule", None)
    assert first["fields"] == {"excluded_ranges": (None, "192.0.2.7"), "blocked_agents": (None, "acme\nbolt")}
    assert second["fields"] == {
        "excluded_ranges": ("192.0.2.7", None),
        "blocked_agents": ("acme\nbolt", "acme"),
        "double_click_s": ("2", "5"),
    }
    owner.post("/app/settings/callback", data={"signature_mode": "accepted", "callbacks_per_min": "100"})
    assert [(entry["kind"], entry["fields"]) for entry in told()] == [
        ("rule", {"signature_mode": ("off", "accepted"), "callbacks_per_min": ("6000", "100")})
    ]
    settings = {"workspace": "Ours", "timezone": "Asia/Kathmandu", "currency": "CHF", "fallback_url": ""}
    owner.post("/app/settings", data=settings)
    owner.post("/app/settings", data=settings)
    assert [(entry["kind"], entry["fields"]) for entry in told()] == [
        (
            "workspace",
            {"name": ("My workspace", "Ours"), "timezone": ("UTC", "Asia/Kathmandu"), "currency": ("EUR", "CHF")},
        )
    ]
    for keeps in ("1", "1", "0"):
        owner.post("/app/settings/match-keys", data={"keeps": keeps})
    assert [entry["fields"] for entry in told()] == [
        {"keeps_identities": ("no", "yes")},
        {"keeps_identities": ("yes", "no")},
    ]


def test_a_secret_is_told_of_by_its_number_alone(owner: FlaskClient, session: Session, told: Entries) -> None:
    owner.post("/app/settings/callback/secrets")
    (made,) = told()
    number = made["fields"]["signing_secret"][1]
    owner.post(f"/app/settings/callback/secrets/{number.removeprefix('no. ')}/revoke")
    assert [entry["fields"] for entry in told()] == [{"signing_secret": (number, None)}]


def test_an_import_leaves_one_entry_for_each_campaign(
    session: Session, workspace: Workspace, make_link: MakeLink, told: Entries
) -> None:
    make_link()
    told()
    drafts = [
        LinkDraft(**LINK | {"campaign": f"c{number % 2}" if number % 3 else "spring-sale"}) for number in range(60)
    ]
    changelog.act_as(session, "command line")
    bulk.create_many(session, workspace, enumerate(drafts), OWN, name="{}.{}".format, dry_run=True)
    assert told() == []
    bulk.create_many(session, workspace, enumerate(drafts), OWN, name="{}.{}".format)
    found = told()
    assert {entry["who"] for entry in found} == {"command line"}
    assert [entry["campaign"] for entry in found if entry["kind"] == "campaign"] == ["c0", "c1"]
    assert {entry["campaign"]: entry["fields"] for entry in found if entry["kind"] == "link"} == {
        slug: {"links_made": (None, "20")} for slug in ("spring-sale", "c0", "c1")
    }
    assert len(found) == 5


def test_commands_are_told_of(database: Database, engine: Engine) -> None:
    environ = os.environ | database.environ | {"TRACKER_BASE_URL": "https://go.example"}
    options = [f"--{name}={LINK[name]}" for name in ("campaign", "source", "medium")]
    commands.run("link", "add", LINK["destination"], *options, environ=environ, check=True)
    with Session(engine) as session:
        assert set(session.execute(select(ChangeEntry.who, ChangeEntry.kind))) == {
            ("command line", "campaign"),
            ("command line", "link"),
        }


def test_of_two_who_edit_the_same_each_is_told_of_what_was_there(
    engine: Engine, session: Session, workspace: Workspace, make_link: MakeLink, told: Entries
) -> None:
    link = make_link()
    told()
    with Session(engine) as other:
        stale = other.get_one(Link, link.id)
        assert stale.source == "newsletter"
        links.edit(session, workspace, link, {"source": "first"}, OWN)
        links.edit(other, other.get_one(Workspace, workspace.id), stale, {"source": "second"}, OWN)
        of = other.get_one(Campaign, link.campaign_id)
        assert of.name == "spring-sale"
        campaigns.edit(session, link.campaign, name="First")
        campaigns.edit(other, of, name="Second")
    assert [entry["fields"] for entry in told()] == [
        {"source": ("newsletter", "first")},
        {"source": ("first", "second")},
        {"name": ("spring-sale", "First")},
        {"name": ("First", "Second")},
    ]


def test_a_deleted_user_stays_in_the_log(owner: FlaskClient, session: Session, api: Api) -> None:
    owner.post("/app/links/new", data=FORM | {"code": "spring"})
    session.execute(delete(Membership))
    session.execute(delete(User))
    session.commit()
    assert {entry["who"] for entry in api("GET", "/changes").json["items"]} == {OWNER}


def test_notes_are_written_changed_and_deleted_by_page(
    owner: FlaskClient, session: Session, make_link: MakeLink
) -> None:
    make_link()
    owner.post("/app/settings", data={"workspace": "W", "timezone": "Asia/Kathmandu", "currency": "EUR"})
    path = "/app/campaigns/spring-sale"
    typed = {"note": "  On TV\r\nat noon ", "at": "2026-11-01T12:00"}
    assert owner.post(f"{path}/notes", data=typed).location == f"{path}/changes"
    entry = session.scalars(select(ChangeEntry).where(ChangeEntry.kind == "note")).one()
    assert (entry.who, entry.note, entry.at) == (OWNER, "On TV\nat noon", datetime(2026, 11, 1, 6, 15, tzinfo=UTC))
    assert "On TV\nat noon" in owner.get(f"{path}/changes").text
    page = f"{path}/changes/{entry.id}"
    assert 'value="2026-11-01T12:00"' in owner.get(page).text
    assert owner.post(page, data={"note": "On the radio", "at": "2026-11-01T13:00"}).location == page
    session.refresh(entry)
    assert (entry.note, entry.at.hour) == ("On the radio", 7)
    refused = owner.post(page, data={"note": "", "at": "soon"})
    assert refused.status_code == 422
    assert "An instant is written like" in refused.text
    assert owner.post(f"{page}/delete").location == f"{path}/changes"
    assert session.scalar(select(func.count()).where(ChangeEntry.kind == "note")) == 0


def test_a_note_without_an_instant_is_of_now_and_stays_to_the_second_when_its_words_change(
    owner: FlaskClient, session: Session
) -> None:
    before = days.now()
    owner.post("/app/changes/notes", data={"note": "Black Friday", "at": ""})
    entry = session.scalars(select(ChangeEntry)).one()
    assert timedelta(milliseconds=-1) <= entry.at - before < timedelta(minutes=1)
    at = entry.at
    owner.post(f"/app/changes/{entry.id}", data={"note": "Black Friday!", "at": f"{at:%Y-%m-%dT%H:%M}"})
    session.refresh(entry)
    assert (entry.note, entry.at, entry.campaign_id) == ("Black Friday!", at, None)


@pytest.mark.parametrize("note", ["", " \n ", "a\0b", "x" * 1001])
def test_a_bad_note_is_refused_and_kept_in_its_form(owner: FlaskClient, note: str) -> None:
    response = owner.post("/app/changes/notes", data={"note": note})
    assert response.status_code == 422
    assert 'id="note-error"' in response.text


def test_only_its_writer_changes_a_note_and_nobody_an_edit(
    owner: FlaskClient, api: Api, session: Session, make_link: MakeLink
) -> None:
    make_link()
    note = api("POST", "/campaigns/spring-sale/notes", {"note": "Mine", "at": "2026-11-01T12:00:00+01:00"}).json
    assert (note["who"], note["kind"], note["at"]) == ("token tests", "note", "2026-11-01T11:00:00+00:00")
    edit = session.scalars(select(ChangeEntry.id).where(ChangeEntry.kind == "link")).one()
    for entry_id in (note["id"], edit):
        page = f"/app/campaigns/spring-sale/changes/{entry_id}"
        assert owner.post(page, data={"note": "Yours"}).status_code == 403
        assert owner.post(f"{page}/delete").status_code == 403
        assert "Change this note" not in owner.get(page).text
    assert api("PATCH", f"/notes/{edit}", {"note": "x"}).status_code == 403
    assert api("DELETE", f"/notes/{edit}").status_code == 403
    assert api("PATCH", f"/notes/{note['id']}", {"note": "Still mine"}).json["note"] == "Still mine"
    assert api("DELETE", f"/notes/{note['id']}").status_code == 204
    assert api("DELETE", f"/notes/{note['id']}").status_code == 404


def test_the_log_is_paged_filtered_and_exported(api: Api, make_link: MakeLink) -> None:
    codes = [make_link().code for _ in range(3)]
    make_link(campaign="autumn")
    api("POST", "/campaigns/spring-sale/notes", {"note": "long ago", "at": "2026-01-01T00:00:00Z"})
    api("POST", "/notes", {"note": "of all"})
    everything = api("GET", "/changes?limit=500").json["items"]
    paged, cursor = [], ""
    while cursor is not None:
        page = api("GET", f"/changes?limit=3{cursor and f'&cursor={cursor}'}").json
        paged += page["items"]
        cursor = page["next_cursor"]
    assert paged == everything
    assert [entry["at"] for entry in everything] == sorted((entry["at"] for entry in everything), reverse=True)
    assert everything[-1]["note"] == "long ago"
    mine = api("GET", "/campaigns/spring-sale/changes").json["items"]
    assert mine == [entry for entry in everything if entry["campaign"] in ("spring-sale", None)]
    assert mine == api("GET", "/changes?campaign=spring-sale").json["items"]
    assert [entry["link"] for entry in api("GET", "/changes?kind=link&campaign=spring-sale").json["items"]] == codes[
        ::-1
    ]
    assert [entry["link"] for entry in api("GET", f"/changes?link={codes[1]}").json["items"]] == [codes[1]]
    table = api("GET", f"/changes.csv?link={codes[1]}").text.splitlines()
    assert table[0] == "id,at,who,kind,campaign,link,note,fields"
    assert f"code: – → {codes[1]}; destination: – → " in table[1]
    for bad in ("cursor=x", "kind=nothing", "limit=0"):
        assert api("GET", f"/changes?{bad}").status_code == 422
    assert api("GET", "/changes?link=nothere").status_code == 404


def test_the_pages_show_who_and_from_what_to_what(owner: FlaskClient, make_link: MakeLink) -> None:
    code = make_link(content="hero-a").code
    owner.post(f"/app/links/{code}/edit", data=FORM | {"content": "<b>"})
    for path in ("/app/changes", "/app/campaigns/spring-sale/changes"):
        page = owner.get(path).text
        assert OWNER in page
        assert "<del>hero-a</del>" in page
        assert "<ins>&lt;b&gt;</ins>" in page
        assert "hero-a" not in owner.get(path, query_string={"kind": "budget"}).text
        assert "No change is as chosen" in owner.get(path, query_string={"link": "nothere"}).text
        assert "No change is as chosen" in owner.get(path, query_string={"kind": "nothing"}).text


def test_the_log_of_another_workspace_is_not_there(
    owner: FlaskClient, api: Api, session: Session, make_link: MakeLink
) -> None:
    make_link()
    theirs = Workspace(name="Theirs", key="w_other")
    session.add(theirs)
    session.flush()
    campaign = campaigns.create(session, theirs, "secret")
    entry = session.scalars(select(ChangeEntry.id).where(ChangeEntry.campaign_id == campaign.id)).one()
    for path in (
        f"/app/changes/{entry}",
        f"/app/campaigns/spring-sale/changes/{entry}",
        "/app/campaigns/secret/changes",
    ):
        assert owner.get(path).status_code == 404
    assert owner.post(f"/app/changes/{entry}/delete").status_code == 404
    assert api("GET", f"/campaigns/spring-sale/changes/{entry}").status_code == 404
    assert "secret" not in owner.get("/app/changes").text


def test_a_campaigns_entries_come_with_those_of_the_workspace_in_the_order_of_time(
    session: Session, workspace: Workspace
) -> None:
    own, other = (campaigns.create(session, workspace, value) for value in ("own", "other"))
    at = datetime(2026, 11, 1, tzinfo=UTC)
    for number in range(20):
        of = (own.id, other.id, None)[number % 3]
        changelog.record(
            session,
            workspace_id=workspace.id,
            kind="rule",
            campaign_id=of,
            fields=[("n", None, str(number))],
            at=at + timedelta(hours=number // 2),
        )
    session.commit()
    wanted = [str(number) for number in range(19, -1, -1) if number % 3 != 1]
    found: list[str] = []
    cursor = None
    while some := changelog.listed(session, workspace, campaign=own, kind="rule", before=cursor, limit=3):
        found += [str(entry.fields[0][2]) for entry in some]
        cursor = Cursor(some[-1].at_ms, some[-1].id)
    assert found == wanted
    marked = changelog.markers(session, own, at + timedelta(hours=1), at + timedelta(hours=3))
    assert [entry.fields[0][2] for entry in marked] == ["2", "3", "5"]


def test_markers_are_bounded(session: Session, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelog, "MARKERS_MAX", 4)
    campaign = campaigns.create(session, workspace, "own")
    now = days.now()
    for number in range(9):
        changelog.note(session, workspace, campaign, str(number), now - timedelta(minutes=20 - number))
    found = changelog.markers(session, campaign, now - timedelta(hours=1), now - timedelta(seconds=1))
    assert [entry.note for entry in found] == ["5", "6", "7", "8"]


def test_an_edit_that_changes_nothing_records_nothing(session: Session, workspace: Workspace) -> None:
    assert changelog.record(session, workspace_id=workspace.id, kind="cost", fields=[]) is None
    session.commit()
    assert session.scalar(select(func.count(ChangeEntry.id))) == 0


def test_what_is_recorded_is_whose_the_session_acts_for_unless_told(session: Session, workspace: Workspace) -> None:
    def who(**given: str) -> str:
        entry = changelog.record(session, workspace_id=workspace.id, kind="cost", fields=[("a", None, "b")], **given)
        assert entry is not None
        return entry.who

    assert who() == "tracker"
    changelog.act_as(session, "token nightly")
    assert (who(), who(who="command line")) == ("token nightly", "command line")


def test_a_note_of_a_year_no_report_covers_is_refused(session: Session, workspace: Workspace) -> None:
    with pytest.raises(Invalid, match="1980"):
        changelog.note(session, workspace, None, "old", datetime(1970, 1, 1, tzinfo=UTC))


def test_entries_are_json_that_any_program_reads(api: Api, make_link: MakeLink) -> None:
    make_link(destination="https://shop.example/?q=ä&x=“")
    content = json.loads(api("GET", "/changes?kind=link").text)["items"][0]
    assert {field["field"]: field["to"] for field in content["fields"]}[
        "destination"
    ] == "https://shop.example/?q=ä&x=“"
