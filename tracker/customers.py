"""Customers as shops name them: a keyed hash stands for one from the moment a report comes in, before it is written.

In a report that is sealed `customer` has become `customer_hash`, and `customer_match`, which only the spool ever
holds: what advertising networks match people by, for workspaces that keep it. Nobody outside may send either name.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from urllib.parse import unquote_plus

from tracker import identities
from tracker.identities import NOBODY, Match

NAME = "customer"
SEALED = "customer_hash"
MATCHED = "customer_match"
# What of a customer may stand in parameters, and must not stand in what is kept of them.
NAMES = (NAME, SEALED, MATCHED)
HASH_LENGTH = 32
CUSTOMER_MAX = 255
_ABSENT = "-"


def customer_hash(customer: str, key: bytes) -> str:
    """32 hex digits that stand for a customer, in any case of letters; without the key nobody can make them."""
    return blake2b(customer.strip().lower().encode(errors="replace"), key=key, digest_size=16).hexdigest()


def is_hash(text: str) -> bool:
    return len(text) == HASH_LENGTH and set("0123456789abcdef").issuperset(text)


def seal(query: str, key: bytes | None) -> str:
    """A raw query whose customer is hashed, or without one where there is no key; all else stays to the byte.

    One too long to be refused by name later is left out: it is nobody's customer number. Of the name in capitals,
    which is not ours and may hold somebody all the same, the value is left out.
    """
    # Nearly every query has none: one look tells, for a percent sign has to stand where the name is disguised.
    if "%" not in query and NAME not in query.lower():
        return query
    parts, matched = [], ""
    for part in query.split("&"):
        customer = _customer_of(part)
        if customer is None:
            parts.append(part)
        elif customer and key is not None:
            parts.append(f"{SEALED}={customer_hash(customer, key)}")
            # Of several customers the first is the one that is read.
            matched = matched or _match_text(identities.match(customer)) or _ABSENT
        elif _is_misspelt(part):
            parts.append(part.partition("=")[0] + "=")
    # At the end: should the query be cut, what follows a customer is worth more.
    return "&".join([*parts, f"{MATCHED}={matched}"] if matched not in ("", _ABSENT) else parts)


def _customer_of(part: str) -> str | None:
    """The customer that a part of a query names, empty if it should name none, `None` for any other part."""
    name, mark, value = part.partition("=")
    name = unquote_plus(name)
    if name.strip().lower() not in NAMES:
        return None
    customer = unquote_plus(value).strip()
    return customer if name == NAME and mark and len(customer) <= CUSTOMER_MAX else ""


def _is_misspelt(part: str) -> bool:
    name = unquote_plus(part.partition("=")[0])
    return name != NAME and name.strip().lower() == NAME


def seal_params(params: Mapping[str, str], key: bytes | None) -> dict[str, str]:
    """The same for parameters that have been read."""
    sealed = {
        name: "" if name.strip().lower() in NAMES else value for name, value in params.items() if name not in NAMES
    }
    customer = params.get(NAME, "").strip()
    if key is not None and customer:
        sealed[SEALED] = customer_hash(customer, key)
        if matched := _match_text(identities.match(customer)):
            sealed[MATCHED] = matched
    return sealed


def match_of(params: Mapping[str, str]) -> Match:
    """What the customer of a report can be matched by, sealed or not."""
    sealed = params.get(MATCHED)
    return identities.match(params.get(NAME, "")) if sealed is None else _read_match(sealed)


def _match_text(match: Match) -> str:
    return ".".join(sha or _ABSENT for sha in match) if match != NOBODY else ""


def _read_match(text: str) -> Match:
    """What was sealed; nobody where it was cut."""
    shas = text.split(".")
    if len(shas) != len(NOBODY) or not all(sha == _ABSENT or identities.is_sha(sha) for sha in shas):
        return NOBODY
    return Match(*(None if sha == _ABSENT else sha for sha in shas))


def redact(line: str) -> str:
    """The first line of a request for a log: the customer of a conversion report does not stand in it."""
    method, space, rest = line.partition(" ")
    target, mark, query = rest.partition("?")
    if not mark or ("%" not in query and NAME not in query.lower()):
        return line
    query, blank, version = query.partition(" ")
    return f"{method}{space}{target}{mark}{'&'.join(map(_redacted, query.split('&')))}{blank}{version}"


def _redacted(part: str) -> str:
    name, mark, _ = part.partition("=")
    return f"{name}{mark}-" if mark and unquote_plus(name).strip().lower() in NAMES else part
