"""Addresses and numbers as Meta and Google want them hashed: their published examples, and what is neither."""

from __future__ import annotations

from hashlib import sha256

import pytest

from tracker import customers, identities
from tracker.identities import NOBODY, Match

pytestmark = pytest.mark.any_database

KEY = b"k"


def sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("typed", "published"),
    [
        # “Customer Information Parameters”, em and ph.
        ("John_Smith@gmail.com", "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"),
        ("+1 (650) 555-1212", "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176"),
    ],
)
def test_metas_published_examples_come_out(typed: str, published: str) -> None:
    match = identities.match(typed)
    assert published in (match.meta_email, match.meta_phone)


@pytest.mark.parametrize(
    ("typed", "published"),
    [
        # “Send audience members”, the first of its sample people, and the others by what they are normalised to.
        ("dana@example.com", "07e2f1394b0ea80e2adca010ea8318df697001a005ba7452720edda4b0ce57b3"),
        ("DanaM@example.com", "1df6b43bc68dd38eca94e6a65b4f466ae537b796c81a526918b40ac4a7b906c7"),
        ("ALEXJ@example.com", "2ef46c4214c3fc1b277a2d976d55194e12b899aa50d721f28da858c7689756e3"),
        (" AlexJ@cymbalgroup.com", sha("alexj@cymbalgroup.com")),
        ("baklavainthebalkans@gmail.com  ", sha("baklavainthebalkans@gmail.com")),
        ("cloudySanFrancisco@GMAIL.com", sha("cloudysanfrancisco@gmail.com")),
        # “Format user data”.
        ("cloudy.sanfrancisco+shopping@gmail.com", sha("cloudysanfrancisco@gmail.com")),
        ("user.name+NYC@Example.com", sha("user.name+nyc@example.com")),
        ("+1 (800)555-0100", sha("+18005550100")),
        ("+12125650000", sha("+12125650000")),
    ],
)
def test_googles_published_examples_come_out(typed: str, published: str) -> None:
    match = identities.match(typed)
    assert published in (match.google_email, match.google_phone)


@pytest.mark.parametrize(
    ("typed", "meta", "google"),
    [
        ("  Ada@Example.ORG\n", "ada@example.org", "ada@example.org"),
        ("a.d.a+shop@GoogleMail.com", "a.d.a+shop@googlemail.com", "ada@googlemail.com"),
        ("a.d.a@gmail.com.example", "a.d.a@gmail.com.example", "a.d.a@gmail.com.example"),
        # Blanks inside: Google takes them out, to Meta it is no address.
        ("ada @ example.org", None, "ada@example.org"),
        ("+only@gmail.com", "+only@gmail.com", None),
        ("JÖRG@MÜLLER.example", "jörg@müller.example", "jörg@müller.example"),
        ("用户@例子.广告", "用户@例子.广告", "用户@例子.广告"),
        ("ada@xn--mller-kva.example", "ada@xn--mller-kva.example", "ada@xn--mller-kva.example"),
        ("o'brien@example.org", "o'brien@example.org", "o'brien@example.org"),
    ],
)
def test_each_network_gets_an_address_its_own_way(typed: str, meta: str | None, google: str | None) -> None:
    assert (identities.meta_email(typed), identities.google_email(typed)) == (meta, google)
    assert identities.match(typed) == Match(
        meta_email=meta and sha(meta), google_email=google and sha(google), meta_phone=None, google_phone=None
    )


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("+49 (0)30 / 1234-567", "49301234567"),
        ("+49.30.1234567", "49301234567"),
        (" +44 20 7946 0958 ", "442079460958"),
        ("+44\u00a020\u00a079460958", "442079460958"),
        ("+6834000", "6834000"),
    ],
)
def test_a_number_with_its_country_is_digits_to_meta_and_has_a_plus_for_google(typed: str, digits: str) -> None:
    assert (identities.meta_phone(typed), identities.google_phone(typed)) == (digits, f"+{digits}")
    assert identities.match(typed) == Match(meta_phone=sha(digits), google_phone=sha(f"+{digits}"))


@pytest.mark.parametrize(
    "typed",
    [
        *("", " ", "4711", "C-4711", "0049301234567", "(650) 555-1212", "16505551212", "650.555.1212"),
        *("+0493012345", "+49", "+123456", "+1234567890123456", "+49 30 FLOWERS", "+49301234567 ext 5", "+٤٩٣٠١٢٣٤٥"),
        *("@", "ada@", "@example.org", "ada@localhost", "ada@@example.org", "a@b@example.org", "ada@example."),
        *("Ada <ada@example.org>", "mailto:ada@example.org", "a@example.org,b@example.org", "ada@exam\u200bple.org"),
        *("ada@example.org\0", "a" * 250 + "@example.org", sha("ada@example.org")),
    ],
)
def test_what_is_neither_address_nor_number_with_its_country_is_nobody(typed: str) -> None:
    assert identities.match(typed) == NOBODY


def test_a_sealed_query_carries_what_its_first_customer_is_matched_by_at_its_end() -> None:
    ada, eve = (customers.customer_hash(name, KEY) for name in ("ada@example.org", "eve@example.org"))
    matched = f"{sha('ada@example.org')}.-.{sha('ada@example.org')}.-"
    sealed = customers.seal("customer=Ada%40Example.org&a=1&customer=eve@example.org&b=2", KEY)
    assert sealed == f"customer_hash={ada}&a=1&customer_hash={eve}&b=2&customer_match={matched}"
    assert customers.seal("customer=4711&customer=eve@example.org", KEY).count("customer_match") == 0
    number = customers.seal("customer=%2B1+650+555+1212", KEY)
    assert number.endswith(f"&customer_match=-.{sha('16505551212')}.-.{sha('+16505551212')}")


def test_a_match_is_read_where_it_is_whole() -> None:
    match = identities.match("ada@example.org")
    sealed = customers.seal_params({"customer": "Ada@example.org", "order": "1"}, KEY)
    assert set(sealed) == {"customer_hash", "customer_match", "order"}
    assert customers.match_of(sealed) == match
    assert customers.match_of({"customer": "Ada@example.org"}) == match
    assert customers.match_of({}) == NOBODY
    for cut in (sealed["customer_match"][:-1], sealed["customer_match"][:70], "", "-.-.-", "x.-.-.-"):
        assert customers.match_of({"customer_match": cut, "customer": "eve@example.org"}) == NOBODY


@pytest.mark.parametrize(
    "name", ["customer_match", "customer_hash", "customer%5Fmatch", "Customer_Match", "+customer_hash"]
)
def test_nobody_outside_can_send_a_sealed_name(name: str) -> None:
    forged = f"{name}={'0' * 64}"
    for key in (KEY, None):
        assert customers.seal(f"a=1&{forged}&b=2", key) == "a=1&b=2"
    assert customers.redact(f"GET /c/k.gif?{forged}&b=2 HTTP/1.1") == f"GET /c/k.gif?{name}=-&b=2 HTTP/1.1"


@pytest.mark.parametrize("name", ["CUSTOMER", "Customer", "%43ustomer", "customer+", "%20customer"])
def test_a_customer_under_a_misspelt_name_is_left_out_and_the_name_stays(name: str) -> None:
    query = f"a=1&{name}=Ada%40Example.org"
    for key in (KEY, None):
        assert customers.seal(query, key) == f"a=1&{name}="
    assert customers.redact(f"GET /c/k.gif?{query} HTTP/1.1") == f"GET /c/k.gif?a=1&{name}=- HTTP/1.1"
