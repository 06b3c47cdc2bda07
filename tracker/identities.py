"""What advertising networks know a customer by: the SHA-256 of an e-mail address or a phone number, written their way.

Meta: “Customer Information Parameters”, `em` and `ph` (developers.facebook.com/docs/marketing-api/conversions-api/
parameters/customer-information-parameters, of 9 January 2026). Google: “Format user data”, `email_address` and
`phone_number` (developers.google.com/data-manager/api/devguides/concepts/formatting), which since 2026 also takes the
`+…` out of Gmail addresses. Neither says anything of composed letters or of punycode: a domain stays as it is written.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

EMAIL_MAX = 254  # characters (RFC 5321, 4.5.3.1.3)
SHA_LENGTH = 64
GMAIL = ("gmail.com", "googlemail.com")
# Quoted local parts are allowed and hardly ever meant: a name in front of an address in angle brackets is.
_EMAIL = re.compile(r"[^@<>()\[\],;:\\\"]+@[^@<>()\[\],;:\\\"]+\.[^@<>()\[\],;:\\\".]+")
# E.164: a country code, which never begins with zero, and 15 digits at most. Shorter than seven is nobody's.
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
# As people write numbers. The zero in brackets is dialled within the country only.
_WRITTEN = re.compile(r"\(0\)|[\s().\-/]")


class Match(NamedTuple):
    """A customer as each network knows them, in lower-case hexadecimal; `None` where they cannot."""

    meta_email: str | None = None
    meta_phone: str | None = None
    google_email: str | None = None
    google_phone: str | None = None


NOBODY = Match()


def match(customer: str) -> Match:
    """What a customer can be matched by. A number of the shop's own, or a phone without its country, is nobody."""
    if "@" in customer:
        return Match(meta_email=_hashed(meta_email(customer)), google_email=_hashed(google_email(customer)))
    return Match(meta_phone=_hashed(meta_phone(customer)), google_phone=_hashed(google_phone(customer)))


def meta_email(text: str) -> str | None:
    """An address without blanks around it, in lower case; `None` for what is none."""
    return _address(text.strip().lower())


def google_email(text: str) -> str | None:
    """An address without any blanks, in lower case; of Gmail's, without dots and what follows a plus."""
    address = _address("".join(text.split()).lower())
    if address is None:
        return None
    local, _, domain = address.partition("@")
    if domain not in GMAIL:
        return address
    local = local.partition("+")[0].replace(".", "")
    return f"{local}@{domain}" if local else None


def _address(text: str) -> str | None:
    is_one = len(text) <= EMAIL_MAX and text.isprintable() and " " not in text and _EMAIL.fullmatch(text)
    return text if is_one else None


def meta_phone(text: str) -> str | None:
    """Digits, the country's first; `None` where no `+` says that the country is among them."""
    number = google_phone(text)
    return None if number is None else number[1:]


def google_phone(text: str) -> str | None:
    """The same in E.164, with its `+`. Digits alone may be a customer number, so they are not guessed at."""
    number = _WRITTEN.sub("", text.strip())
    return number if _PHONE.fullmatch(number) else None


def _hashed(text: str | None) -> str | None:
    return None if text is None else sha256(text.encode(errors="replace")).hexdigest()


def is_sha(text: str) -> bool:
    return len(text) == SHA_LENGTH and set("0123456789abcdef").issuperset(text)
