"""Passwords, tokens and what is kept of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tracker import accounts
from tracker.errors import Forbidden, Invalid, Taken
from tracker.models import Token, User, Workspace

pytestmark = pytest.mark.any_database


def test_passwords_are_kept_as_argon2_only(session: Session, workspace: Workspace) -> None:
    accounts.create_user(session, workspace, " Ada@Example.org ", "correct horse")
    user = session.scalars(select(User)).one()
    assert user.email == "ada@example.org"
    assert user.password_hash.startswith("$argon2id$")
    assert accounts.sign_in(session, "ADA@example.org", "correct horse") is user
    assert accounts.sign_in(session, "ada@example.org", "Correct horse") is None
    assert accounts.sign_in(session, "bob@example.org", "correct horse") is None
    with pytest.raises(Taken):
        accounts.create_user(session, workspace, "ada@example.org", "correct horse")


@pytest.mark.parametrize(
    ("email", "password", "fields"),
    [("ada", "correct horse", {"email"}), ("a b@c", "correct horse", {"email"}), ("@", "short", {"email", "password"})],
)
def test_an_account_is_refused_by_field(
    session: Session, workspace: Workspace, email: str, password: str, fields: set[str]
) -> None:
    with pytest.raises(Invalid) as refused:
        accounts.create_user(session, workspace, email, password)
    assert set(refused.value.errors) == fields


def test_a_token_opens_its_workspace_until_it_is_revoked_and_only_its_digest_is_kept(
    session: Session, workspace: Workspace
) -> None:
    secret = accounts.create_token(session, workspace, "ci")
    row = session.scalars(select(Token)).one()
    assert secret not in row.digest
    assert accounts.token_of(session, secret).workspace.id == workspace.id
    accounts.revoke_token(session, workspace, row.id)
    with pytest.raises(Forbidden):
        accounts.token_of(session, secret)


def test_the_set_up_link_works_once(session: Session) -> None:
    token = accounts.setup_token(session)
    assert token is not None
    assert accounts.setup_token(session) == token
    with pytest.raises(Forbidden):
        accounts.set_up(session, "guessed", "eve@example.org", "a long password", "Hers", "UTC", "EUR")
    accounts.set_up(session, token, "ada@example.org", "correct horse", "Mine", "Europe/Berlin", "CHF")
    with pytest.raises(Forbidden):
        accounts.set_up(session, token, "eve@example.org", "a long password", "Hers", "UTC", "EUR")
    assert accounts.setup_token(session) is None
    mine = session.scalars(select(Workspace)).one()
    assert (mine.name, mine.timezone, mine.currency) == ("Mine", "Europe/Berlin", "CHF")


def test_commands_that_start_at_once_make_one_workspace(engine: Engine) -> None:
    together = Barrier(4)

    def create(name: str) -> int:
        together.wait()
        with Session(engine) as session:
            workspace = accounts.ensure_workspace(session)
            accounts.create_token(session, workspace, name)
            return workspace.id

    with ThreadPoolExecutor(4) as people:
        assert len(set(people.map(create, "abcd"))) == 1
    with Session(engine) as session:
        assert len(session.scalars(select(Workspace)).all()) == 1
        assert {token.name for token in session.scalars(select(Token))} == set("abcd")
