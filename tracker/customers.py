"""Customers as shops name them: a keyed hash stands for one from the moment a report comes in, before it is written.

In a report that is sealed `customer` has become `customer_hash`; nobody outside may send that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from urllib.parse import unquote_plus

NAME = "customer"
SEALED = "customer_hash"
HASH_LENGTH = 32
CUSTOMER_MAX = 255


def customer_hash(customer: str, key: bytes) -> str:
    """32 hex digits that stand for a customer, in any case of letters; without the key nobody can make them."""
    return blake2b(customer.strip().lower().encode(errors="replace"), key=key, digest_size=16).hexdigest()


def is_hash(text: str) -> bool:
    return len(text) == HASH_LENGTH and set("0123456789abcdef").issuperset(text)


def seal(query: str, key: bytes | None) -> str:
    """A raw query whose customer is hashed, or without one where there is no key; all else stays to the byte.

    One too long to be refused by name later is left out: it is nobody's customer number.
    """
    # Nearly every query has none: one look tells, for a percent sign has to stand where the name is disguised.
    if NAME not in query and "%" not in query:
        return query
    return "&".join(kept for part in query.split("&") if (kept := _sealed(part, key)) is not None)


def _sealed(part: str, key: bytes | None) -> str | None:
    name, mark, value = part.partition("=")
    name = unquote_plus(name)
    if name == SEALED:
        return None
    if name != NAME:
        return part
    customer = unquote_plus(value).strip()
    if key is None or not mark or not customer or len(customer) > CUSTOMER_MAX:
        return None
    return f"{SEALED}={customer_hash(customer, key)}"


def seal_params(params: Mapping[str, str], key: bytes | None) -> dict[str, str]:
    """The same for parameters that have been read."""
    sealed = {name: value for name, value in params.items() if name not in (NAME, SEALED)}
    customer = params.get(NAME, "").strip()
    if key is not None and customer:
        sealed[SEALED] = customer_hash(customer, key)
    return sealed


def redact(line: str) -> str:
    """The first line of a request for a log: the customer of a conversion report does not stand in it."""
    method, space, rest = line.partition(" ")
    target, mark, query = rest.partition("?")
    if not mark or (NAME not in query and "%" not in query):
        return line
    query, blank, version = query.partition(" ")
    return f"{method}{space}{target}{mark}{'&'.join(map(_redacted, query.split('&')))}{blank}{version}"


def _redacted(part: str) -> str:
    name, mark, _ = part.partition("=")
    return f"{name}{mark}-" if mark and unquote_plus(name) == NAME else part
