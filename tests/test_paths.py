"""The clicks that led to a conversion: found, credited by every model, and kept right whatever comes later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests.conftest import Api
from tests.crowd import CHROME, IPHONE, Crowd
from tracker import credited, privacy
from tracker.config import Settings
from tracker.credits import WHOLE, Model
from tracker.models import Campaign, Conversion, Link, Workspace
from tracker.reported import Credited, Touch
from tracker.stores import EventStore
from tracker.sums import CreditDay, CreditQuarter

MakeLink = Callable[..., Link]
HOUR_S = 3_600
DAY_S = 86_400
HOME, OFFICE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def links(make_link: MakeLink) -> dict[str, Link]:
    """Four placements of one campaign and one of another."""
    found = {
        source: make_link(campaign="Spring Sale", source=source, medium="m", content=source)
        for source in ("newsletter", "google", "facebook", "podcast")
    }
    return found | {"other": make_link(campaign="Autumn Sale", source="other", medium="m", content="other")}


@pytest.fixture
def click(crowd: Crowd, links: dict[str, Link]) -> Callable[..., str]:
    """Follows a placement's link and answers the click id."""

    def click(source: str, *who: str, **headers: str) -> str:
        crowd.clock.forward(10)
        return str(crowd.get(f"/{links[source].code}", *who, **headers).headers["Location"].partition("cid=")[2][:28])

    return click


@pytest.fixture
def sell(crowd: Crowd, workspace: Workspace) -> Callable[..., Any]:
    """The shop's server reports a sale, when the clock says."""

    def sell(cid: str, order: str = "A-1", **more: Any) -> Any:
        crowd.clock.forward(10)
        said = {"cid": cid, "order": order, "value": "100.00", "ts": crowd.clock.now_ms // 1000} | more
        return crowd._app.test_client().post(f"/c/{workspace.key}", data=said).json

    return sell


def path(session: Session, order: str = "A-1") -> list[tuple[str, str]]:
    """The sources of a conversion's touches with how each is known."""
    session.expire_all()
    query = select(Link.source, Touch.via).join(Touch, Touch.link_id == Link.id)
    query = query.join(Conversion, Conversion.id == Touch.conversion_id).where(Conversion.order_id == order)
    return [(source, via) for source, via in session.execute(query.order_by(Touch.position))]


def credits(session: Session, campaign: str = "spring-sale") -> dict[str, dict[str, tuple[int, int]]]:
    """By model and source: millionths and minor units. Both tables are to say the same."""
    session.expire_all()
    found: list[dict[str, dict[str, tuple[int, int]]]] = []
    for table in (CreditQuarter, CreditDay):
        sums: dict[str, dict[str, tuple[int, int]]] = {}
        query = select(table, Link.source).join(Campaign, Campaign.id == table.campaign_id)
        query = query.outerjoin(Link, Link.id == table.link_id).where(Campaign.slug == campaign)
        for row, source in session.execute(query):
            by_source = sums.setdefault(Model(row.model).word, {})
            had = by_source.get(source, (0, 0))
            by_source[source] = (had[0] + row.millionths, had[1] + row.minor)
        found.append({m: {s: two for s, two in by.items() if any(two)} for m, by in sums.items()})
    assert found[0] == found[1]
    return {model: by for model, by in found[0].items() if by}


def drifts(session: Session) -> list[Any]:
    """Where the sums are not what the paths add up to, on any day that has any."""
    days = set(session.scalars(select(CreditDay.day))) | {
        at // 86_400_000 for at in session.scalars(select(Touch.at_ms))
    }
    return [drift for day in sorted(days) for drift in credited.drifts(session, day)]


def test_a_visitors_clicks_of_the_day_are_touches_and_every_model_shares_the_sale(
    click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session
) -> None:
    for source in ("newsletter", "google", "facebook"):
        click(source)
    sell(click("podcast"))
    load()
    assert path(session) == [
        ("newsletter", "visitor"),
        ("google", "visitor"),
        ("facebook", "visitor"),
        ("podcast", "report"),
    ]
    found = credits(session)
    assert found["last_click"] == {"podcast": (WHOLE, 10_000)}
    assert found["first_click"] == {"newsletter": (WHOLE, 10_000)}
    assert set(found["linear"].values()) == {(250_000, 2_500)}
    assert found["position_based"] == {
        "newsletter": (400_000, 4_000),
        "google": (100_000, 1_000),
        "facebook": (100_000, 1_000),
        "podcast": (400_000, 4_000),
    }
    for by_source in found.values():
        assert sum(n for n, _ in by_source.values()) == WHOLE
        assert sum(minor for _, minor in by_source.values()) == 10_000
    assert drifts(session) == []


def test_clicks_that_the_script_kept_are_touches_if_they_are_genuine_and_counted(
    crowd: Crowd, click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session
) -> None:
    first = click("newsletter", CHROME, HOME)
    bot = click("facebook", "Googlebot/2.1", HOME)
    crowd.clock.forward(-2 * DAY_S)
    earlier = click("google", CHROME, HOME)
    crowd.clock.forward(2 * DAY_S)
    sell(click("podcast", CHROME, OFFICE), touches=f"{earlier}.{first}.{bot}.{'A' * 28}.made-up")
    load()
    assert path(session) == [("google", "script"), ("newsletter", "script"), ("podcast", "report")]


def test_ten_ids_of_the_script_are_kept_whole(
    click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session, api: Api
) -> None:
    ids = [click("newsletter", CHROME, f"203.0.113.{n}") for n in range(10)]
    sell(click("podcast"), touches=".".join(ids))
    load()
    assert [via for _, via in path(session)] == ["script"] * 10 + ["report"]
    assert api("GET", "/conversions/reports").json["items"][0]["params"]["touches"] == ".".join(ids)


def test_a_customers_clicks_on_other_devices_are_touches(
    click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session
) -> None:
    sell(click("newsletter", IPHONE, HOME), order="S-1", goal="signup", customer="ada@example.org")
    sell(click("google", CHROME, OFFICE), customer="ada@example.org")
    sell(click("facebook", CHROME, "203.0.113.9"), order="B-1", customer="bob@example.org")
    load()
    assert path(session) == [("newsletter", "customer"), ("google", "report")]
    assert path(session, "B-1") == [("facebook", "report")]


def test_the_browser_that_sent_the_pixel_tells_of_its_clicks(
    crowd: Crowd,
    click: Callable[..., str],
    workspace: Workspace,
    load: Callable[[], int],
    session: Session,
) -> None:
    click("newsletter", CHROME, OFFICE)
    cid = click("google", CHROME, HOME)
    crowd.clock.forward(60)
    crowd.get(f"/c/{workspace.key}.gif?cid={cid}&order=A-1&value=100.00", CHROME, OFFICE)
    load()
    assert path(session) == [("newsletter", "visitor"), ("google", "report")]


def test_what_was_clicked_after_the_reported_click_or_before_the_window_is_no_touch(
    crowd: Crowd,
    click: Callable[..., str],
    sell: Callable[..., Any],
    load: Callable[[], int],
    session: Session,
    workspace: Workspace,
    links: dict[str, Link],
) -> None:
    session.get_one(Campaign, links["other"].campaign_id).click_window_days = 1
    session.commit()
    crowd.clock.forward(-2 * DAY_S)
    late, kept = click("other"), click("newsletter")
    crowd.clock.forward(2 * DAY_S)
    cid = click("google")
    click("facebook")
    sell(cid, touches=f"{late}.{kept}")
    load()
    assert path(session) == [("newsletter", "script"), ("google", "report")]


def test_a_touch_of_another_campaign_is_credited_to_that_campaign(
    click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session
) -> None:
    click("other")
    sell(click("google"))
    load()
    assert credits(session)["linear"] == {"google": (500_000, 5_000)}
    assert credits(session, "autumn-sale") == {
        "first_click": {"other": (WHOLE, 10_000)},
        **{model: {"other": (500_000, 5_000)} for model in ("linear", "position_based")},
        "time_decay": {"other": credits(session, "autumn-sale")["time_decay"]["other"]},
    }


def test_under_global_privacy_control_nothing_is_joined(
    crowd: Crowd,
    click: Callable[..., str],
    sell: Callable[..., Any],
    workspace: Workspace,
    load: Callable[[], int],
    session: Session,
) -> None:
    click("newsletter")
    cid = click("google")
    sell(cid, customer="ada@example.org")
    load()
    assert len(path(session)) == 2
    crowd.get(f"/c/{workspace.key}.gif?cid={cid}&order=A-1", Sec_GPC="1")
    load()
    assert path(session) == [("google", "report")]
    assert credits(session)["first_click"] == {"google": (WHOLE, 10_000)}
    assert drifts(session) == []


def test_a_double_click_and_its_first_are_one_touch(
    crowd: Crowd, click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session
) -> None:
    click("newsletter")
    click("google")
    crowd.clock.forward(-9)
    sell(click("google"))
    load()
    assert path(session) == [("newsletter", "visitor"), ("google", "report")]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"status": "refunded"}, None),
        ({"status": "rejected"}, None),
        ({"value": "40.01"}, 4_001),
        ({"value": "0"}, 0),
        ({"status": "pending"}, 10_000),
    ],
)
def test_credits_follow_what_becomes_of_the_sale(
    click: Callable[..., str],
    sell: Callable[..., Any],
    load: Callable[[], int],
    session: Session,
    change: dict[str, str],
    left: int | None,
) -> None:
    click("newsletter")
    cid = click("google")
    sell(cid)
    load()
    sell(cid, **change)
    load()
    found = credits(session)
    if left is None:
        assert found == {}
    else:
        assert sum(minor for _, minor in found["linear"].values()) == left
        assert found["last_click"] == {"google": (WHOLE, left)}
    assert drifts(session) == []
    sell(cid, status="approved", value="100.00")
    load()
    assert credits(session)["linear"] == dict.fromkeys(("newsletter", "google"), (500000, 5000))
    assert drifts(session) == []


def test_credits_move_with_the_currency(
    click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session
) -> None:
    cid = click("google")
    sell(cid)
    load()
    sell(cid, value="500", currency="JPY")
    load()
    query = select(CreditDay.currency, CreditDay.minor).where(CreditDay.model == Model.LINEAR, CreditDay.millionths > 0)
    assert [tuple(row) for row in session.execute(query)] == [("JPY", 500)]


def test_a_sale_beyond_the_window_or_a_trial_is_credited_to_nobody(
    crowd: Crowd, click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session
) -> None:
    crowd.clock.forward(-31 * DAY_S)
    cid = click("google")
    crowd.clock.forward(31 * DAY_S)
    sell(cid)
    load()
    assert session.scalars(select(Conversion.outside_window)).one()
    assert credits(session) == {}
    assert session.scalar(select(Credited.conversion_id)) is None
    assert path(session) == [("google", "report")]


def test_a_path_waits_until_the_spool_holds_none_of_its_clicks(
    click: Callable[..., str],
    sell: Callable[..., Any],
    load: Callable[[], int],
    session: Session,
) -> None:
    click("newsletter")
    sell(click("google"))
    assert not session.scalars(select(Conversion.path_settled)).one()
    assert path(session) == []
    load()
    session.expire_all()
    assert session.scalars(select(Conversion.path_settled)).one()
    assert len(path(session)) == 2


def test_a_second_report_with_more_to_say_makes_the_path_longer_and_nothing_is_lost(
    click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session, engine: Engine
) -> None:
    old = click("newsletter", CHROME, OFFICE)
    click("facebook")
    cid = click("google")
    sell(cid)
    load()
    assert len(path(session)) == 2
    sell(cid, touches=old)
    load()
    assert path(session) == [("newsletter", "script"), ("facebook", "visitor"), ("google", "report")]
    # Raw events go with their time: what is known of a path stays.
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM events")
    sell(cid, value="50")
    load()
    assert len(path(session)) == 3
    assert credits(session)["linear"]["facebook"] == (333_333, 1_667)
    assert drifts(session) == []


def test_a_conversion_given_to_a_campaign_alone_is_credited_to_it(
    sell: Callable[..., Any], load: Callable[[], int], session: Session, settings: Settings, links: dict[str, Link]
) -> None:
    from tracker import conversions
    from tracker.models import Report

    sell("")
    report = session.scalars(select(Report)).one()
    campaign = session.get_one(Campaign, links["google"].campaign_id)
    conversions.give(session, report, settings.secrets.keys, campaign=campaign)
    session.commit()
    load()
    assert credits(session) == {model.word: {None: (WHOLE, 10_000)} for model in Model}
    assert drifts(session) == []


def test_a_path_has_fifty_touches_at_most_and_keeps_its_first(
    click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session
) -> None:
    first = click("newsletter", CHROME, OFFICE)
    for _ in range(60):
        click("facebook")
    sell(click("google"), touches=first)
    load()
    found = path(session)
    assert len(found) == 50
    assert (found[0], found[-1]) == (("newsletter", "script"), ("google", "report"))


def test_sums_that_are_wrong_are_found_and_made_anew(
    click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session, engine: Engine
) -> None:
    click("newsletter")
    sell(click("google"))
    load()
    right = credits(session)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE credit_days SET minor = minor + 1 WHERE model = 3")
        connection.exec_driver_sql("DELETE FROM credit_quarters WHERE model = 4")
    assert {drift.rollup for drift in drifts(session)} == {"credit_days", "credit_quarters"}
    for day in set(session.scalars(select(CreditDay.day))):
        session.rollback()
        credited.repair(session, day)
    assert drifts(session) == []
    assert credits(session) == right


def test_a_conversion_that_changed_unseen_is_found_and_credited_anew(
    click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session, engine: Engine
) -> None:
    sell(click("google"))
    load()
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE conversions SET status = 'refunded'")
    (drift,) = drifts(session)
    assert (drift.rollup, drift.kept, drift.counted) == ("credited", (10_000,), (-1,))
    session.rollback()
    credited.repair(session, session.scalars(select(CreditDay.day)).first() or 0)
    load()
    assert credits(session) == {}
    assert drifts(session) == []


def test_who_is_forgotten_leaves_no_click_in_a_path_and_the_credits_stay(
    click: Callable[..., str],
    sell: Callable[..., Any],
    load: Callable[[], int],
    session: Session,
    engine: Engine,
    store: EventStore,
    workspace: Workspace,
    settings: Settings,
) -> None:
    phone = click("newsletter", IPHONE, OFFICE)
    click("facebook")
    cid = click("google")
    sell(cid, customer="ada@example.org", touches=phone)
    load()
    before = credits(session)
    session.rollback()
    held = privacy.of_customer(session, store, workspace, "ada@example.org", settings.secrets.customer_key)
    assert len(held.visitors) == 2  # the phone's, too
    privacy.forget(session, store, engine, held)
    session.rollback()
    touches = list(session.scalars(select(Touch)))
    assert {(touch.nonce, touch.via) for touch in touches} == {(0, "forgotten")}
    assert not {touch.at_ms for touch in touches} & {
        row.at_ms for row in store.recent(workspace.id, before=None, limit=9)
    }
    after = credits(session)
    assert {model: after[model] for model in after if model != "time_decay"} == {
        model: before[model] for model in before if model != "time_decay"
    }
    assert drifts(session) == []
    # A later word on the order finds nothing again.
    sell(cid, value="50", touches=phone)
    load()
    assert {via for _, via in path(session)} == {"forgotten"}
    assert credits(session)["last_click"] == {"google": (WHOLE, 5_000)}
    assert drifts(session) == []


def test_another_workspaces_click_is_no_touch(
    click: Callable[..., str], sell: Callable[..., Any], load: Callable[[], int], session: Session, client: FlaskClient
) -> None:
    theirs = Workspace(name="Theirs", key="w_theirs")
    session.add(theirs)
    session.commit()
    cid = click("google", IPHONE, OFFICE)
    session.execute(
        Link.__table__.update().where(Link.source == "google").values(workspace_id=theirs.id)  # type: ignore[attr-defined]
    )
    session.commit()
    kept = click("newsletter")
    sell(kept, touches=cid)
    load()
    assert path(session)[-1] == ("newsletter", "report")
