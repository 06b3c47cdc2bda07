"""The page on who may report, and the one on a campaign's windows."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.conftest import Api
from tests.test_pages import error_of, value_of
from tracker import signing
from tracker.models import Campaign, Link, Workspace
from tracker.reported import SigningSecret

pytestmark = pytest.mark.any_database

PATH = "/app/settings/callback"
CAMPAIGN = "/app/campaigns/spring-sale/settings"
FORM = {"signature_mode": "accepted", "callback_ranges": "192.0.2.7\r\n10.1.2.3/16", "callbacks_per_min": "60"}


@pytest.mark.parametrize("path", [PATH, CAMPAIGN])
def test_a_stranger_is_sent_to_the_login(client: FlaskClient, path: str) -> None:
    for answer in (client.get(path), client.post(path, data=FORM)):
        assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (303, "/app/login")


@pytest.mark.parametrize("path", ["/secrets", "/secrets/1/revoke"])
def test_a_stranger_makes_and_revokes_no_secret(client: FlaskClient, session: Session, path: str) -> None:
    assert client.post(PATH + path).status_code == 303
    assert client.get(PATH + path).status_code in (303, 404, 405)
    assert session.scalars(select(SigningSecret)).all() == []


def test_who_may_report_is_kept_and_shown(owner: FlaskClient, session: Session, workspace: Workspace) -> None:
    assert owner.post(PATH, data=FORM).status_code == 303
    session.refresh(workspace)
    assert workspace.signature_mode == "accepted"
    assert workspace.callback_ranges == ["192.0.2.7", "10.1.0.0/16"]
    assert workspace.callbacks_per_min == 60
    page = owner.get(PATH).text
    assert re.search(r"<textarea[^>]*>\s*192.0.2.7\r?\n10.1.0.0/16</textarea>", page)
    assert value_of(page, "callbacks_per_min") == "60"
    assert "/c/" + workspace.key in page


def test_errors_stand_at_their_field_and_what_was_typed_stays(owner: FlaskClient, workspace: Workspace) -> None:
    answer = owner.post(PATH, data=FORM | {"signature_mode": "required", "callbacks_per_min": "lots"})
    assert answer.status_code == 422
    assert error_of(answer.text, "callbacks_per_min")
    assert value_of(answer.text, "callbacks_per_min") == "lots"
    answer = owner.post(PATH, data=FORM | {"signature_mode": "required"})
    assert "Make a secret first" in str(error_of(answer.text, "signature_mode"))
    answer = owner.post(PATH, data=FORM | {"callback_ranges": "here"})
    assert "Line 1" in str(error_of(answer.text, "callback_ranges"))


def test_a_secret_is_shown_once_and_revoked(owner: FlaskClient, session: Session, workspace: Workspace) -> None:
    answer = owner.post(f"{PATH}/secrets")
    assert answer.status_code == 201
    (secret,) = signing.in_force(session, workspace)
    text = secret.secret
    assert text in answer.text
    assert text not in owner.get(PATH).text
    assert owner.post(f"{PATH}/secrets/{secret.id}/revoke").status_code == 303
    session.expire_all()
    assert signing.in_force(session, workspace) == []
    assert session.scalars(select(SigningSecret.secret)).one() == "", "what is revoked is not kept"


def test_there_are_so_many_secrets_and_no_more(owner: FlaskClient) -> None:
    answers = [owner.post(f"{PATH}/secrets").status_code for _ in range(signing.SECRETS_MAX + 1)]
    assert answers == [201] * signing.SECRETS_MAX + [422]


def test_somebody_elses_secret_cannot_be_revoked(owner: FlaskClient, session: Session) -> None:
    other = Workspace(name="Theirs", key="w_theirs")
    session.add(other)
    session.commit()
    signing.create(session, other)
    (secret,) = signing.in_force(session, other)
    assert owner.post(f"{PATH}/secrets/{secret.id}/revoke").status_code == 404


def test_a_secret_is_made_by_a_form_of_ours_only(app: Flask, owner: FlaskClient, session: Session) -> None:
    app.config["WTF_CSRF_ENABLED"] = True
    assert owner.post(f"{PATH}/secrets").status_code == 400
    assert session.scalars(select(SigningSecret)).all() == []
    app.config["WTF_CSRF_ENABLED"] = False


def test_a_campaigns_windows_are_set_on_its_page(
    owner: FlaskClient, session: Session, make_link: Callable[..., Link]
) -> None:
    make_link()
    page = owner.get(CAMPAIGN).text
    assert (value_of(page, "click_window_days"), value_of(page, "view_window_days")) == ("30", "1")
    typed = {"name": "Spring", "click_window_days": "7", "view_window_days": "0"}
    answer = owner.post(CAMPAIGN, data=typed)
    assert (answer.status_code, answer.location) == (303, "/app/campaigns/spring-sale")
    session.expire_all()
    campaign = session.scalars(select(Campaign)).one()
    assert (campaign.name, campaign.click_window_days, campaign.view_window_days) == ("Spring", 7, 0)
    assert CAMPAIGN in owner.get("/app/campaigns/spring-sale").text


@pytest.mark.parametrize("days", ["366", "-1", "", "seven", "1.5", "9999999"])
def test_a_window_is_a_whole_number_of_days(owner: FlaskClient, make_link: Callable[..., Link], days: str) -> None:
    make_link()
    answer = owner.post(CAMPAIGN, data={"name": "Spring", "click_window_days": days, "view_window_days": "1"})
    assert answer.status_code == 422
    assert error_of(answer.text, "click_window_days")
    assert error_of(answer.text, "view_window_days") is None


def test_windows_are_set_over_the_api(api: Api, make_link: Callable[..., Link]) -> None:
    make_link()
    found = api("PATCH", "/campaigns/spring-sale", {"click_window_days": 14}).json
    assert (found["name"], found["click_window_days"], found["view_window_days"]) == ("spring-sale", 14, 1)
    for wrong in (-1, 366, "7", 1.5, None):
        answer = api("PATCH", "/campaigns/spring-sale", {"click_window_days": wrong})
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json["errors"]] == ["click_window_days"]


def test_a_number_that_no_secret_can_have_is_not_there(owner: FlaskClient) -> None:
    assert owner.post(f"{PATH}/secrets/{10**20}/revoke").status_code == 404
