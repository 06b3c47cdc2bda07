"""Links that differ in one thing are compared by what people did on them, and nothing is said that is not sure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import Api
from tests.crowd import Crowd
from tests.lab import PATH, Lab, compared, page_of
from tracker import days
from tracker.models import Conversion, Link, Workspace
from tracker.reports.experiment import Comparison, Variant
from tracker.reports.metrics import Rate
from tracker.reports.trial import EXPECTED_MIN, Outcome, run, sample_ratio
from tracker.web import trialwords

pytestmark = pytest.mark.any_database

MakeLink = Callable[..., Link]


@pytest.fixture
def lab(crowd: Crowd, workspace: Workspace, load: Callable[[], int]) -> Lab:
    return Lab(crowd, workspace.key, load)


# Which links are compared


@pytest.mark.parametrize(
    ("differs", "one", "other"),
    [
        ("content", {"content": "a"}, {"content": "b"}),
        ("content", {"content": None}, {"content": "b"}),
        ("term", {"term": "a"}, {"term": "b"}),
        ("destination", {"destination": "https://shop.example/a"}, {"destination": "https://shop.example/b"}),
    ],
)
def test_links_that_differ_in_one_thing_are_compared(
    api: Api, lab: Lab, make_link: MakeLink, differs: str, one: dict[str, str], other: dict[str, str]
) -> None:
    make_link(code="one", **one)
    make_link(code="two", **other)
    for code in ("one", "two"):
        lab.play(code, 1, 1)
    lab.load()
    (found,) = compared(api)["comparisons"]
    assert found["differs"] == [differs]
    assert differs not in found["same"]
    assert (found["same"]["source"], found["same"]["medium"]) == ("newsletter", "email")
    assert [variant["links"] for variant in found["variants"]] == [["one"], ["two"]]
    assert [variant["key"] for variant in found["variants"]] == [one[differs], other[differs]]


@pytest.mark.parametrize("more", [{"source": "x"}, {"medium": "x"}, {"id": "x"}])
def test_links_of_another_place_are_not_compared(api: Api, lab: Lab, make_link: MakeLink, more: dict[str, str]) -> None:
    make_link(code="one", content="a")
    make_link(code="two", content="b", **more)
    for code in ("one", "two"):
        lab.play(code, 1, 1)
    lab.load()
    assert compared(api)["comparisons"] == []


def test_links_without_traffic_and_archived_ones_alone_are_not_compared(
    api: Api, lab: Lab, make_link: MakeLink
) -> None:
    for code in ("one", "two", "three"):
        make_link(code=code, content=code)
    lab.play("one", 1, 1)
    lab.play("two", 1, 1)
    lab.load()
    (found,) = compared(api)["comparisons"]
    assert [variant["key"] for variant in found["variants"]] == ["one", "two"]
    assert api("DELETE", "/links/one").status_code == 204
    assert len(compared(api)["comparisons"]) == 1
    assert api("DELETE", "/links/two").status_code == 204
    assert compared(api)["comparisons"] == []


def test_links_with_the_same_value_are_one_variant(api: Api, lab: Lab, make_link: MakeLink) -> None:
    for code, content in (("one", "a"), ("one-more", "a"), ("two", "b")):
        make_link(code=code, content=content)
        lab.play(code, 3, 2, 1)
    lab.load()
    (found,) = compared(api)["comparisons"]
    assert [(each["links"], each["impressions"], each["unique_clicks"]) for each in found["variants"]] == [
        (["one", "one-more"], 6, 4),
        (["two"], 3, 2),
    ]


def test_two_changes_at_once_are_named_and_not_compared_by_themselves(
    api: Api, owner: FlaskClient, lab: Lab, make_link: MakeLink
) -> None:
    make_link(code="one", content="a")
    make_link(code="two", content="b", destination="https://shop.example/other")
    for code in ("one", "two"):
        lab.play(code, 2, 1)
    lab.load()
    found = compared(api)
    assert found["comparisons"] == []
    assert found["near"] == [{"links": ["one", "two"], "differs": ["content", "destination"]}]
    warning = "Two things changed, content and destination: you will not know which one did it."
    assert warning in page_of(owner)
    (chosen,) = compared(api, links="two,one")["comparisons"]
    assert chosen["differs"] == ["content", "destination"]
    assert [variant["links"] for variant in chosen["variants"]] == [["two"], ["one"]]
    assert chosen["control"] == "one"
    assert warning in page_of(owner, links="two,one")


def test_ticked_links_are_compared_whatever_they_differ_in(owner: FlaskClient, lab: Lab, make_link: MakeLink) -> None:
    make_link(code="one", content="a")
    make_link(code="two", content="b", source="partner", medium="referral")
    make_link(code="three", content="a")
    for code in ("one", "two", "three"):
        lab.play(code, 2, 1)
    lab.load()
    assert "Three things changed, source, medium and content" in page_of(owner, links=["one", "two"])
    assert "These links differ in nothing but their code" in page_of(owner, links=["one", "three"])


# What is compared


def test_figures_are_those_of_people_and_not_of_repeats(api: Api, lab: Lab, make_link: MakeLink) -> None:
    for code in ("one", "two"):
        make_link(code=code, content=code)
        lab.play(code, 4, 2)
    cid = lab.click("one", "203.0.113.7")
    again = lab.click("one", "203.0.113.7")
    assert cid != again
    for _ in range(3):
        lab.buy(cid)
    lab.load()
    (found,) = compared(api)["comparisons"]
    one = found["variants"][0]
    assert (one["impressions"], one["unique_clicks"], one["conversions"], one["converted_clicks"]) == (4, 3, 3, 1)
    assert not one["converted_clicks_estimated"]
    assert one["ctr"]["value"] == 0.75
    assert one["conversion_rate"]["value"] == pytest.approx(1 / 3, abs=1e-6)


def test_people_who_bought_by_both_of_their_clicks_are_no_more_than_they_are(
    api: Api, lab: Lab, make_link: MakeLink
) -> None:
    for code in ("one", "two"):
        make_link(code=code, content=code)
        lab.play(code, 1, 0)
        for _ in range(2):
            lab.buy(lab.click(code, "203.0.113.7"))
    lab.load()
    (found,) = compared(api)["comparisons"]
    for variant in found["variants"]:
        assert (variant["unique_clicks"], variant["converted_clicks"], variant["conversions"]) == (1, 1, 2)


def test_repeats_are_estimated_from_the_newest_where_there_are_many(
    api: Api, owner: FlaskClient, lab: Lab, make_link: MakeLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracker.reports.experiment.CONVERSIONS_READ_MAX", 15)
    monkeypatch.setattr("tracker.reports.experiment.CONVERSIONS_SAMPLED", 6)
    for code in ("one", "two"):
        make_link(code=code, content=code)
        lab.play(code, 9, 9)
    for number in range(4):
        for code in ("one", "two"):
            cid = lab.click(code, f"203.0.113.{number}")
            lab.buy(cid)
            lab.buy(cid)
    lab.load()
    (found,) = compared(api)["comparisons"]
    for variant in found["variants"]:
        assert (variant["conversions"], variant["converted_clicks_estimated"]) == (8, True)
        assert variant["converted_clicks"] == 4
    assert "is estimated, from the newest" in page_of(owner)


def test_links_without_impressions_are_compared_by_conversions_alone(
    owner: FlaskClient, api: Api, lab: Lab, make_link: MakeLink
) -> None:
    for code in ("one", "two"):
        make_link(code=code, content=code)
        lab.play(code, 2, 2, 1, with_pixel=False)
    lab.load()
    (found,) = compared(api)["comparisons"]
    assert found["metrics"]["ctr"] is None
    assert found["metrics"]["conversion_rate"]["verdict"] == "too_early"
    assert "click-through rates cannot be compared" in page_of(owner)


def test_a_blocked_pixel_makes_no_rate(owner: FlaskClient, lab: Lab, make_link: MakeLink) -> None:
    for code in ("one", "two"):
        make_link(code=code, content=code)
        lab.play(code, 1, 1)
        lab.play(code, 2, 2, with_pixel=False)
    lab.load()
    assert "There are more clicks than impressions" in page_of(owner)


# The split


def test_a_split_is_checked_by_clicks_where_there_are_no_impressions() -> None:
    off = sample_ratio([44_000, 45_000], [50, 50])
    assert (round(off.chi_square, 3), off.is_off, off.shares) == (11.236, True, [0.5, 0.5])
    assert not sample_ratio([440, 450], [50, 50]).is_off


# Who may, and in which forms


def test_a_stranger_is_asked_to_sign_in_and_sees_no_other_campaign(client: FlaskClient, owner: FlaskClient) -> None:
    for path in (f"/app{PATH}", "/app/planner"):
        assert client.get(path).status_code == 303
    assert owner.get("/app/campaigns/none/variants").status_code == 404
    assert client.get(f"/api/v1{PATH}").status_code == 401


# Verdicts, without hits


def test_nothing_is_tested_before_each_side_is_good_for_some_hits() -> None:
    early = run([Rate(0, 300), Rate(38, 300)])
    assert early is not None
    assert (early.outcome, early.pairs[0].is_early, early.pairs[0].low) == (Outcome.EARLY, True, None)
    assert early.pairs[0].more == 600 * EXPECTED_MIN // 19 - 600 + 1
    ready = run([Rate(0, 320), Rate(40, 320)])
    assert ready is not None
    assert ready.outcome is Outcome.BEST
    assert ready.pairs[0].lift is None


def test_an_open_pair_says_how_much_is_missing_and_a_tie_does_not() -> None:
    open_pair = run([Rate(148, 4000), Rate(196, 4000)])
    assert open_pair is not None
    assert open_pair.outcome is Outcome.OPEN
    assert open_pair.pairs[0].more == 2743
    tie = run([Rate(100, 4000), Rate(100, 4000)])
    assert tie is not None
    assert (tie.outcome, tie.pairs[0].more, tie.next_settled) == (Outcome.OPEN, None, None)


@pytest.mark.parametrize(
    ("rates", "head", "told"),
    [
        (
            [Rate(148, 4000), Rate(196, 4000)],
            "No difference is shown yet.",
            "About 2,800 more impressions would settle",
        ),
        (
            [Rate(100, 4000), Rate(101, 4000)],
            "No difference is shown yet.",
            "more than 20 times the impressions there are",
        ),
        ([Rate(100, 4000), Rate(100, 4000)], "No difference is shown yet.", "is 2.5 % for a and for b."),
        (
            [Rate(9, 900), Rate(11, 900)],
            "Too early to tell.",
            "About 1,800 more impressions will do, as they come now.",
        ),
        ([Rate(0, 900), Rate(0, 900)], "Too early to tell.", "so far there are 0 and 0."),
        ([Rate(148, 4000), Rate(222, 4000)], "b is ahead.", "points above a, and this holds however often you look."),
        ([Rate(150, 4000), Rate(196, 4000), Rate(90, 4000)], "b is ahead.", "Against a it is not settled. About"),
        ([Rate(150, 4000), Rate(290, 4000), Rate(90, 4000)], "b is ahead of all others.", "above a and"),
    ],
)
def test_verdicts_are_plain_sentences(rates: list[Rate], head: str, told: str) -> None:
    variants = [
        Variant(code, [Link(code=code, content=code)], rate.trials, rate.hits, 0, 0, False, rate)
        for code, rate in zip("abc", rates, strict=False)
    ]
    comparison = Comparison(
        differs=("content",),
        same={},
        variants=variants,
        control=0,
        trials={"ctr": run(rates), "conversion_rate": None},
        begins=days.now().date(),
        is_whole=True,
        is_uneven=False,
    )
    said = trialwords.verdict(comparison, "ctr")
    assert said is not None
    assert (said.head, told in said.rest) == (head, True), said.rest
    assert trialwords.verdict(comparison, "conversion_rate") is None


def test_more_variants_ask_for_more_evidence() -> None:
    two = run([Rate(148, 4000), Rate(222, 4000)])
    six = run([Rate(148, 4000), Rate(222, 4000)] + [Rate(170, 4000)] * 4)
    assert two is not None
    assert six is not None
    assert (two.outcome, six.outcome) == (Outcome.BEST, Outcome.AHEAD)
    assert len(six.pairs) == 15
    assert six.between(1, 0) == six.pairs[0]
    turned = six.between(0, 1)
    assert turned is not None
    assert (turned.low, turned.high) == (-(six.pairs[0].high or 0), -(six.pairs[0].low or 0))


def test_a_link_that_was_led_elsewhere_meanwhile_is_named(
    api: Api, lab: Lab, make_link: MakeLink, owner: FlaskClient
) -> None:
    for code in ("one", "two"):
        make_link(code=code, content=code)
        lab.play(code, 30, 3, 1)
    lab.load()
    assert compared(api)["comparisons"][0]["destination_changed"] == {}
    assert "led elsewhere" not in owner.get("/app/campaigns/spring-sale/variants").text
    assert api("PATCH", "/links/two", {"title": "Only a name"}).status_code == 200
    assert compared(api)["comparisons"][0]["destination_changed"] == {}
    assert api("PATCH", "/links/two", {"destination": "https://shop.example/other"}).status_code == 200
    asked = compared(api, links="one,two")["comparisons"][0]
    assert (asked["differs"], list(asked["destination_changed"])) == (["content", "destination"], ["two"])
    before = api("GET", "/links/one").json["destination"]
    assert api("PATCH", "/links/two", {"destination": before}).status_code == 200
    assert list(compared(api)["comparisons"][0]["destination_changed"]) == ["two"]
    rows = list(csv.DictReader(io.StringIO(api("GET", "/campaigns/spring-sale/variants.csv").text)))
    moved = {row["link"]: row["destination_changed"] for row in rows}
    assert (moved["one"], bool(moved["two"])) == ("", True)
    told = owner.get("/app/campaigns/spring-sale/variants").text
    assert "two was led elsewhere within these days, last on" in told


def test_rates_that_are_no_proportions_take_no_part() -> None:
    assert run([Rate(3, 2), Rate(1, 2)]) is None
    some = run([Rate(300, 200), Rate(50, 200), Rate(100, 200)])
    assert some is not None
    assert (some.leader, [(pair.first, pair.second) for pair in some.pairs]) == (2, [(2, 1)])
    assert some.between(0, 1) is None


def test_a_conversion_of_a_click_that_is_refunded_makes_nobody_a_buyer(
    api: Api, lab: Lab, make_link: MakeLink, session: Session
) -> None:
    for code in ("one", "two"):
        make_link(code=code, content=code)
        lab.play(code, 2, 2, 1)
    lab.load()
    sale = session.scalars(select(Conversion)).first()
    assert sale is not None
    assert api("PATCH", f"/conversions/{sale.id}", {"status": "refunded"}).status_code == 200
    (found,) = compared(api)["comparisons"]
    assert sorted(each["converted_clicks"] for each in found["variants"]) == [0, 1]
