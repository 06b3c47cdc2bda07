"""The script for shops as it is served: small, and for ever the same once a version is released."""

from __future__ import annotations

import base64
import gzip
import hashlib
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.test_wheel import names_in, wheel
from tracker import codes, snippets

pytestmark = pytest.mark.any_database

__all__ = ["wheel"]
STATIC = Path(__file__).parent.parent / "static"
COMPRESSED_MAX_BYTES = 2048
# The source that the newest version was made from. When it changes, `make script` makes the next version.
SOURCE = "sha384-bdAEHVGR+xKlXeNfjrE3idebYTW1G0rSJaWPghRimkSEUCCv/HFAkPFEjPQ/UNoE"


def hash_of(content: bytes) -> str:
    return "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()


def test_released_versions_are_what_they_were() -> None:
    released = {int(path.name.split(".")[1]): hash_of(path.read_bytes()) for path in STATIC.glob("t.*.js")}
    assert released == snippets.RELEASED, "A released version is edited: make another one."


def test_the_newest_version_was_made_from_its_source() -> None:
    source = (STATIC / "t.js").read_bytes()
    assert hash_of(source) == SOURCE, "The source has changed: release it as another version with `make script`."
    assert source.startswith(b"/*! tracker t.js, version %d */" % snippets.SCRIPT_VERSION)


@pytest.mark.parametrize("version", snippets.RELEASED)
def test_a_version_is_small_and_says_which_it_is(version: int) -> None:
    content = (STATIC / f"t.{version}.js").read_bytes()
    assert len(gzip.compress(content, 9)) < COMPRESSED_MAX_BYTES
    assert content.startswith(b"/*! tracker t.js, version %d */" % version)


def test_the_newest_is_served_for_an_hour_and_then_asked_for_by_its_tag(client: FlaskClient) -> None:
    with client.get("/t.js") as response, client.get(f"/t.{snippets.SCRIPT_VERSION}.js") as newest:
        assert response.data == newest.data
        assert (response.status_code, response.mimetype) == (200, "text/javascript")
        assert response.headers["Cache-Control"] == "public, max-age=3600"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        tag = response.headers["ETag"]
    with client.get("/t.js?key=w_any", headers={"If-None-Match": tag}) as again:
        assert (again.status_code, again.data) == (304, b"")


def test_a_version_is_served_for_ever_and_to_any_site(client: FlaskClient) -> None:
    with client.get("/t.1.js") as response:
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert hash_of(response.data) == snippets.RELEASED[1]


@pytest.mark.parametrize("path", ["/t.0.js", "/t.01.js", "/t.999.js", "/t.x.js", "/t.1.js/", "/t.1.css"])
def test_what_was_never_released_is_not_there(client: FlaskClient, path: str) -> None:
    with client.get(path) as response:
        assert response.status_code == 404
        assert "immutable" not in response.headers.get("Cache-Control", "")


def test_no_code_of_a_link_looks_like_the_script() -> None:
    assert not codes.is_code("t.js")
    assert not codes.is_code("t.1.js")


def test_the_wheel_carries_every_version(wheel: Path) -> None:
    assert {f"tracker/static/t.{version}.js" for version in snippets.RELEASED} <= names_in(wheel)
