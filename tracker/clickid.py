"""Click ids that verify themselves: the link, the instant, a nonce and a keyed check in 28 URL-safe characters.

Layout, most significant bit first: key number 6 bits, milliseconds since 1970 42 bits (until 2109), link 32 bits, nonce
40 bits, and 48 bits of keyed BLAKE2s over the 120 before. 168 bits are exactly 28 characters of base64url, so each id
has one spelling. A forger has one chance in 2^48 a try, and each try costs a request.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Mapping
from hashlib import blake2s
from hmac import compare_digest
from typing import NamedTuple

LENGTH = 28
LINK_MAX = 2**32 - 1
NONCE_MAX = 2**40 - 1
KEYS_MAX = 64
_BODY_BYTES = 15
_CHECK_BYTES = 6
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class Click(NamedTuple):
    """What a verified click id says. `at_ms` and `nonce` together name the stored event."""

    link_id: int
    at_ms: int
    nonce: int


class Key(NamedTuple):
    """A secret with its number; ids keep verifying under every key a keyring still holds."""

    number: int
    secret: bytes


def make(key: Key, link_id: int, at_ms: int, nonce: int) -> str:
    """A click id for one click. Raises OverflowError when a part is out of its range."""
    packed = key.number << 114 | at_ms << 72 | link_id << 40 | nonce
    body = packed.to_bytes(_BODY_BYTES, "big")
    check = blake2s(body, key=key.secret, digest_size=_CHECK_BYTES).digest()
    return b2a_base64(body + check, newline=False).translate(_URL_SAFE).decode("ascii")


def read(text: str, keys: Mapping[int, bytes]) -> Click | None:
    """The click of an id made under one of `keys` (number to secret), or `None`: never trimmed, cast or guessed."""
    if len(text) != LENGTH or not _ALPHABET.issuperset(text):
        return None
    raw = urlsafe_b64decode(text)
    body, check = raw[:_BODY_BYTES], raw[_BODY_BYTES:]
    packed = int.from_bytes(body, "big")
    secret = keys.get(packed >> 114)
    if secret is None or not compare_digest(check, blake2s(body, key=secret, digest_size=_CHECK_BYTES).digest()):
        return None
    return Click(link_id=packed >> 40 & LINK_MAX, at_ms=packed >> 72 & (2**42 - 1), nonce=packed & NONCE_MAX)
