"""A policy blocks what browsers say it blocks: script, request, picture."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tracker.checking import csp
from tracker.checking.csp import Script

pytestmark = pytest.mark.any_database

PAGE = "https://shop.example/landing?x=1"
OURS = "https://go.example/t.js"
TEXT = 'tracker.convert({order: "1"})'


def sha(name: str, text: str = TEXT) -> str:
    return f"{name}-" + base64.b64encode(hashlib.new(name, text.encode()).digest()).decode()


@pytest.mark.parametrize(
    "policy",
    [
        "",
        ";;",
        "img-src 'none'",
        "script-src *",
        "script-src go.example",
        "script-src GO.EXAMPLE",
        "SCRIPT-SRC https://go.example",
        "script-src http://go.example",
        "script-src http://go.example:80",
        "script-src go.example:443",
        "script-src go.example:*",
        "script-src *.example",
        "script-src https://*.example:443",
        "script-src https:",
        "script-src http:",
        "script-src go.example/t.js",
        "script-src go.example/",
        "script-src go.example/%74.js",
        "script-src 'none' go.example",
        "default-src go.example",
        "script-src 'self' go.example; default-src 'none'",
        "script-src go.example; script-src 'none'",
        "script-src-elem go.example; script-src 'none'; default-src 'none'",
        "script-src 'nonce-abc'",
        "script-src 'NONCE-abc' 'strict-dynamic'",
        "default-src 'none'; script-src 'nonce-abc' 'strict-dynamic' https: 'unsafe-inline'",
        f"script-src '{sha('sha256')}'",
        f"script-src 'strict-dynamic' '{sha('sha256').replace('+', '-').replace('/', '_')}'",
        "script-src-attr 'none'; worker-src 'none'; script-src *",
        "sandbox allow-scripts allow-forms",
        "upgrade-insecure-requests",
        "script-src go.example 'report-sample' 'unsafe-eval'",
    ],
)
def test_a_policy_lets_our_script_in(policy: str) -> None:
    script = Script(nonce="abc", integrity=sha("sha256"))
    assert csp.script_refusal(csp.parse([policy]), OURS, script, PAGE) is None


@pytest.mark.parametrize(
    ("policy", "directive"),
    [
        ("script-src", "script-src"),
        ("script-src 'none'", "script-src"),
        ("default-src 'none'", "default-src"),
        ("default-src 'self'", "default-src"),
        ("script-src 'self' 'unsafe-inline' 'unsafe-eval'", "script-src"),
        ("script-src shop.example", "script-src"),
        ("script-src *.go.example", "script-src"),
        ("script-src o.example", "script-src"),
        ("script-src go.example.evil", "script-src"),
        ("script-src go.example:8443", "script-src"),
        ("script-src https://go.example:80", None),
        ("script-src wss://go.example", None),
        ("script-src ftp://go.example", "script-src"),
        ("script-src go.example/js/", "script-src"),
        ("script-src go.example/T.js", "script-src"),
        ("script-src go.example/t", "script-src"),
        ("script-src data: blob:", "script-src"),
        ("script-src wss:", None),
        ("script-src 'go.example'", "script-src"),
        ("script-src https://go.example?x", "script-src"),
        ("script-src 'nonce-ABC'", "script-src"),
        ("script-src 'nonce-other'", "script-src"),
        ("script-src go.example 'strict-dynamic'", "script-src"),
        ("script-src 'strict-dynamic' 'nonce-other' https: *", "script-src"),
        (f"script-src '{sha('sha256', 'another')}'", "script-src"),
        ("script-src 'sha256-abc'", "script-src"),
        ("script-src-elem 'self'; script-src *", "script-src-elem"),
        ("script-src 'self'; script-src *", "script-src"),
        ("script-src *, script-src 'self'", "script-src"),
        ("img-src *; default-src 'self'", "default-src"),
        ("sandbox", "sandbox"),
        ("sandbox allow-forms", "sandbox"),
    ],
)
def test_a_policy_keeps_our_script_out_and_is_named(policy: str, directive: str | None) -> None:
    script = Script(nonce="abc", integrity=sha("sha256"))
    blocked = csp.script_refusal(csp.parse([policy]), OURS, script, PAGE)
    assert (blocked and blocked.directive) == directive


def test_every_policy_has_to_agree() -> None:
    assert csp.script_refusal(csp.parse(["script-src *", "script-src 'self'"]), OURS, Script(), PAGE) is not None
    assert csp.script_refusal(csp.parse(["script-src *", "img-src 'self'"]), OURS, Script(), PAGE) is None


@pytest.mark.parametrize(
    ("policy", "url", "page", "allowed"),
    [
        ("'self'", "https://shop.example/t.js", "https://shop.example/", True),
        ("'self'", "https://shop.example/t.js", "http://shop.example/", True),
        ("'self'", "http://shop.example/t.js", "https://shop.example/", False),
        ("'self'", "https://shop.example:8443/t.js", "https://shop.example/", False),
        ("'self'", "https://shop.example:8443/t.js", "http://shop.example:8080/", False),
        ("'self'", "https://a.shop.example/t.js", "https://shop.example/", False),
        ("go.example", "http://go.example/t.js", "https://shop.example/", False),
        ("go.example", "http://go.example/t.js", "http://shop.example/", True),
        ("https://go.example", "http://go.example/t.js", "http://shop.example/", False),
        ("go.example:8000", "http://go.example:8000/t.js", "http://shop.example/", True),
        ("go.example", "http://go.example:8000/t.js", "http://shop.example/", False),
        ("localhost:8000", "http://localhost:8000/t.js", "http://shop.example/", True),
        ("[2606:4700::1111]", "https://[2606:4700::1111]/t.js", "https://shop.example/", True),
        ("*", "http://go.example:8000/t.js", "https://shop.example/", True),
        ("https:", "http://go.example/t.js", "http://shop.example/", False),
    ],
)
def test_sources_match_by_scheme_host_and_port(policy: str, url: str, page: str, allowed: bool) -> None:
    policies = csp.parse([f"script-src {policy}; connect-src {policy}"])
    assert (csp.script_refusal(policies, url, Script(), page) is None) == allowed
    assert (csp.request_refusal(policies, "connect-src", url, page) is None) == allowed


def test_requests_and_pictures_fall_back_on_the_default() -> None:
    policies = csp.parse(["default-src 'self'; img-src *"])
    url = "https://go.example/c/w_x.gif"
    assert csp.request_refusal(policies, "img-src", url, PAGE) is None
    assert str(csp.request_refusal(policies, "connect-src", url, PAGE)) == "default-src 'self'"
    assert csp.request_refusal(csp.parse(["script-src 'none'"]), "connect-src", url, PAGE) is None


@pytest.mark.parametrize(
    ("policy", "runs"),
    [
        ("default-src 'self'", False),
        ("script-src 'unsafe-inline'", True),
        ("script-src 'UNSAFE-INLINE'", True),
        ("script-src 'unsafe-inline' 'nonce-other'", False),
        ("script-src 'unsafe-inline' 'strict-dynamic'", False),
        (f"script-src 'unsafe-inline' '{sha('sha384', 'another')}'", False),
        (f"script-src '{sha('sha256')}'", True),
        (f"script-src '{sha('sha384')}'", True),
        (f"script-src '{sha('sha512')}' 'strict-dynamic'", True),
        ("script-src 'nonce-abc'", True),
        ("script-src *", False),
        ("img-src 'none'", True),
        ("sandbox", False),
    ],
)
def test_a_script_within_the_page_needs_leave_of_its_own(policy: str, runs: bool) -> None:
    assert (csp.inline_refusal(csp.parse([policy]), TEXT, "abc") is None) == runs


def test_an_upgrade_is_seen_in_any_policy() -> None:
    assert csp.upgrades(csp.parse(["default-src *", "Upgrade-Insecure-Requests"]))
    assert not csp.upgrades(csp.parse(["default-src *"]))


def test_policies_beyond_the_limits_are_not_read() -> None:
    assert len(csp.parse(["img-src *," * 100])) == csp.POLICIES_MAX
    assert csp.parse([" " * csp.POLICY_MAX + "img-src *"]) == []
