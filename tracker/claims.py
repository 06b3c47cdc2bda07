"""A conversion report understood: parameters under our names, each value checked, nothing looked up yet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qsl

import orjson

from tracker import customers, days, money
from tracker.errors import Invalid, Malformed
from tracker.models import Workspace

# The first name of each line is ours; the others are what senders call the same thing.
ALIASES = {
    "cid": ("click_id", "clickid", "subid"),
    "order": ("order_id", "oid", "txid", "tid", "transaction_id"),
    "value": ("amount", "payout", "revenue", "sum"),
    "currency": (),
    "goal": ("event", "type"),
    "status": (),
    "customer": (),
    "event_id": (),
    "ts": (),
    "test": (),
}
STATUSES = ("approved", "pending", "rejected", "refunded")
GOAL_DEFAULT = "purchase"
TEXT_MAX = 255
PARAMS_MAX = 50
BODY_MAX_BYTES = 65536
_GOAL = re.compile(r"[\w.:-]{1,64}")


class Sighting(NamedTuple):
    """When and how a report came in: the id of its event, `via` pixel or callback."""

    at_ms: int
    nonce: int
    via: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A report that has been understood: its values checked, nothing looked up yet."""

    cid: str
    order: str | None
    goal: str
    status: str | None
    amount: money.Money | None
    customer: str | None
    converted_at: datetime
    test: bool


def read_params(query: str, body: bytes = b"", content_type: str = "") -> dict[str, str]:
    """The parameters of a report by our names, from a raw query and a form or JSON body. Raises Malformed.

    A body wins over the query, our own name over an alias, the first of equal names over later ones.
    """
    found: dict[str, str] = {}
    for pairs in (_body_pairs(body, content_type), _query_pairs("query", query)):
        for name, value in pairs:
            found.setdefault(name, value)
    if len(found) > PARAMS_MAX:
        raise Malformed({"body": f"A report has at most {PARAMS_MAX} parameters."})
    found.pop(customers.SEALED, None)
    return _named_our_way(found.items())


def _named_our_way(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found = dict(pairs)
    for name, others in ALIASES.items():
        for other in others:
            if other in found:
                found.setdefault(name, found.pop(other))
    return found


def read_pixel(query: str) -> dict[str, str]:
    """The parameters of a conversion pixel: it is answered in any case, so whatever can be read of it is kept."""
    pairs = parse_qsl(query, keep_blank_values=True, errors="replace")[:PARAMS_MAX]
    return _named_our_way(reversed(pairs))


def _query_pairs(field: str, text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=PARAMS_MAX)
    except ValueError:
        raise Malformed({field: f"At most {PARAMS_MAX} parameters, percent-encoded UTF-8."}) from None


def _body_pairs(body: bytes, content_type: str) -> list[tuple[str, str]]:
    if not body:
        return []
    if len(body) > BODY_MAX_BYTES:
        raise Malformed({"body": f"A report has at most {BODY_MAX_BYTES:,} bytes."})
    kind = content_type.partition(";")[0].strip().lower()
    # A beacon sends its JSON as plain text.
    if kind.endswith("json") or (kind in ("", "text/plain") and body.lstrip()[:1] == b"{"):
        try:
            content = orjson.loads(body)
        except ValueError:
            raise Malformed({"body": "The body is not valid JSON."}) from None
        if not isinstance(content, dict):
            raise Malformed({"body": "The JSON body is an object of names and values."})
        return [(str(name), _json_text(name, value)) for name, value in content.items() if value is not None]
    try:
        return _query_pairs("body", body.decode("utf-8"))
    except UnicodeDecodeError:
        raise Malformed({"body": "The body is neither JSON nor a form in UTF-8."}) from None


def _json_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else ""
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, float):
        # repr is the shortest text that reads back as this number: 49.9 stays 49.9.
        return repr(value)
    raise Malformed({str(name): "A value is a text or a number."})


def understand(params: Mapping[str, str], workspace: Workspace, sighting: Sighting, customer_key: bytes) -> Claim:
    """Checks every value. Raises Invalid, naming each field."""
    errors: dict[str, str] = {}
    texts = {name: params.get(name, "").strip() for name in ALIASES}
    for name in ("order", "customer", "event_id"):
        if len(texts[name]) > TEXT_MAX:
            errors[name] = f"At most {TEXT_MAX} characters."
    goal = texts["goal"] or GOAL_DEFAULT
    if not _GOAL.fullmatch(goal):
        errors["goal"] = "A goal is 1 to 64 letters, digits, “.”, “:”, “-” or “_”."
    status = texts["status"].lower() or None
    if status not in (None, *STATUSES):
        errors["status"] = f"A status is one of {', '.join(sorted(STATUSES))}."
    claim = Claim(
        cid=texts["cid"],
        order=texts["order"] or None,
        goal=goal,
        status=status,
        amount=_amount(texts["value"], texts["currency"].upper() or workspace.currency, errors),
        customer=_customer(params.get(customers.SEALED, ""), texts["customer"], customer_key),
        converted_at=_instant(texts["ts"] if sighting.via == "callback" else "", sighting.at_ms, errors),
        test=texts["test"].lower() not in ("", "0", "false"),
    )
    if errors:
        raise Invalid(errors)
    return claim


def _customer(sealed: str, plain: str, key: bytes) -> str | None:
    """A customer's hash, made where the report came in or else now."""
    if customers.is_hash(sealed):
        return sealed
    return customers.customer_hash(plain, key) if plain else None


def _amount(text: str, currency: str, errors: dict[str, str]) -> money.Money | None:
    if not money.is_currency(currency):
        errors["currency"] = "A currency is an ISO 4217 code, like EUR."
        currency = "EUR"  # the value is still looked at, so that both faults are named at once
    if not text:
        return None
    try:
        amount = money.parse(text, currency)
    except ValueError as error:
        errors["value"] = str(error)
        return None
    if amount.minor < 0:
        errors["value"] = "A value is not negative; report a refund with status=refunded."
    return amount


def _instant(text: str, at_ms: int, errors: dict[str, str]) -> datetime:
    received = days.from_ms(at_ms)
    if not text:
        return received
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= at_ms // 1000 + 300:
        errors["ts"] = "An instant is in whole seconds since 1970, and not in the future."
        return received
    return datetime.fromtimestamp(int(text), UTC)
