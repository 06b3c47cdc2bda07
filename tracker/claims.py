"""A conversion report understood: parameters under our names, each value checked, nothing looked up yet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import parse_qsl

import orjson

from tracker import customers, money
from tracker.errors import Invalid, Malformed, TooLong
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
    "touches": (),
}
KNOWN = frozenset(name for ours, others in ALIASES.items() for name in (ours, *others))
STATUSES = ("approved", "pending", "rejected", "refunded")
ENDED = ("rejected", "refunded")
GOAL_DEFAULT = "purchase"
TEXT_MAX = 255
TOUCHES_TEXT_MAX = 300  # ten click ids, parted by dots
PIXEL, CALLBACK, IMPORT, HAND = "pixel", "callback", "import", "hand"
PARAMS_MAX = 50
FORM = "application/x-www-form-urlencoded"
BODY_MAX_BYTES = 65536
QUERY_MAX = 8192  # characters
CLOCK_TOLERANCE_S = 300  # that a sender's clock may be fast or slow
_SAID = frozenset(ALIASES) - {"touches"}  # the way to a sale is nothing that becomes of it
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_GOAL = re.compile(r"[\w.:-]{1,64}")
_TS = re.compile(r"[0-9]{1,12}")


class Sighting(NamedTuple):
    """When and how a report came in: the id of its event, and `via` pixel, callback, import or hand.

    `agent` is the user agent that sent it, `gpc` whether it asked not to be sold, `signed` whether a signature held;
    `signature` is the digest of one that is still to be used up.
    """

    at_ms: int
    nonce: int
    via: str
    gpc: bool = False
    agent: str = ""
    signed: bool = False
    signature: bytes | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A report that has been understood: its values checked, nothing looked up yet.

    `told_at_ms` is the instant that it names, `None` where it names none; `received_at_ms` when it came in. `digest` is
    of all that it says of its sale, and of who says it.
    """

    cid: str
    order: str | None
    goal: str
    status: str | None
    amount: money.Money | None
    customer: str | None
    event_id: str | None
    told_at_ms: int | None
    received_at_ms: int
    received_nonce: int
    via: str
    gpc: bool
    signed: bool
    test: bool
    digest: bytes

    @property
    def at_ms(self) -> int:
        """When the sale was made, as far as this report can tell."""
        return self.received_at_ms if self.told_at_ms is None else self.told_at_ms

    @property
    def speaks(self) -> bool:
        """Whether it may change what is known. Anybody with the page open can send a pixel."""
        return self.via != PIXEL


def read_params(query: str, body: bytes = b"", content_type: str = "") -> dict[str, str]:
    """The parameters of a report by our names, from a raw query and a form or JSON body. Raises Malformed, or TooLong.

    A body wins over the query, our own name over an alias, the first of equal names over later ones; what is empty
    hides nothing.
    """
    if len(query) > QUERY_MAX:
        raise TooLong({"query": f"A query has at most {QUERY_MAX:,} characters; a body may be longer."})
    found: dict[str, str] = {}
    for pairs in (_body_pairs(body, content_type), _query_pairs("query", query)):
        for name, value in pairs:
            found[name] = found.get(name) or value
    if len(found) > PARAMS_MAX:
        raise Malformed({"body": f"A report has at most {PARAMS_MAX} parameters."})
    for name in (customers.SEALED, customers.MATCHED):
        found.pop(name, None)
    return _named_our_way(found.items())


def _named_our_way(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names that we know are known in any case of letters: a shop that writes `Order` means its order."""
    found: dict[str, str] = {}
    for name, value in pairs:
        known = name.lower() if name.lower() in KNOWN else name
        found[known] = found.get(known) or value
    for name, others in ALIASES.items():
        for other in others:
            if other in found:
                value = found.pop(other)
                found[name] = found.get(name) or value
    return found


def read_pixel(query: str) -> dict[str, str]:
    """The parameters of a conversion pixel: it is answered in any case, so whatever can be read of it is kept."""
    pairs = parse_qsl(query, keep_blank_values=True, errors="replace")[:PARAMS_MAX]
    return _named_our_way(pairs)


def _query_pairs(field: str, text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=PARAMS_MAX)
    except ValueError:
        raise Malformed({field: f"At most {PARAMS_MAX} parameters, percent-encoded UTF-8."}) from None


def _body_pairs(body: bytes, content_type: str) -> list[tuple[str, str]]:
    if not body:
        return []
    if len(body) > BODY_MAX_BYTES:
        raise too_long()
    kind = content_type.partition(";")[0].strip().lower()
    # A beacon sends its JSON as plain text, and `curl -d` as a form: no name of a form's starts with a brace.
    if kind.endswith("json") or (kind in ("", "text/plain", FORM) and body.lstrip()[:1] == b"{"):
        try:
            orjson.loads(body)  # the stricter of the two: no NaN, nothing that is no UTF-8, and no bottomless nesting
            content = json.loads(body, parse_float=str, parse_int=str)  # digit for digit, as they were sent
        except (ValueError, RecursionError):
            raise Malformed({"body": "The body is not valid JSON."}) from None
        if not isinstance(content, dict):
            raise Malformed({"body": "The JSON body is an object of names and values."})
        return [(str(name), _json_text(name, value)) for name, value in content.items() if value is not None]
    try:
        return _query_pairs("body", body.decode("utf-8"))
    except UnicodeDecodeError:
        raise Malformed({"body": "The body is neither JSON nor a form in UTF-8."}) from None


def too_long() -> TooLong:
    """What a body that is too long is refused with."""
    return TooLong({"body": f"A report has at most {BODY_MAX_BYTES:,} bytes."})


def _json_text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "1" if value else ""
    if isinstance(value, str):
        return value
    raise Malformed({str(name): "A value is a text or a number."})


def understand(params: Mapping[str, str], workspace: Workspace, sighting: Sighting, customer_key: bytes) -> Claim:
    """Checks every value. Raises Invalid, naming each field."""
    errors: dict[str, str] = {}
    texts = {name: params.get(name, "").strip() for name in ALIASES}
    for name in ("order", "customer", "event_id"):
        if len(texts[name]) > TEXT_MAX:
            errors[name] = f"At most {TEXT_MAX} characters."
        elif _CONTROL.search(texts[name]):
            errors[name] = "No line breaks and no other control characters."
    goal = texts["goal"] or GOAL_DEFAULT
    if not _GOAL.fullmatch(goal):
        errors["goal"] = "A goal is 1 to 64 letters, digits, “.”, “:”, “-” or “_”."
    texts["status"], texts["currency"] = texts["status"].lower(), texts["currency"].upper()
    if texts["status"] not in ("", *STATUSES):
        errors["status"] = f"A status is one of {', '.join(sorted(STATUSES))}."
    elif texts["status"] in ENDED and sighting.via == PIXEL:
        errors["status"] = "A pixel can be sent by anybody with the page open: only a callback takes a sale back."
    customer = None if sighting.gpc else _customer(params.get(customers.SEALED, ""), texts["customer"], customer_key)
    claim = Claim(
        cid=texts["cid"],
        order=texts["order"] or None,
        goal=goal,
        status=texts["status"] or None,
        amount=_amount(texts["value"], texts["currency"] or workspace.currency, errors),
        customer=customer,
        event_id=texts["event_id"] or None,
        told_at_ms=_instant_ms(texts["ts"], sighting.at_ms, errors) if sighting.via != PIXEL else None,
        received_at_ms=sighting.at_ms,
        received_nonce=sighting.nonce,
        via=sighting.via,
        gpc=sighting.gpc,
        signed=sighting.signed,
        test=texts["test"].lower() not in ("", "0", "false"),
        digest=_digest(texts | {"goal": goal, "customer": customer or ""}, sighting.via),
    )
    if errors:
        raise Invalid(errors)
    return claim


def _digest(texts: Mapping[str, str], via: str) -> bytes:
    """What a report says, in 16 bytes: the same report sent again has the same.

    Where an order names the sale, the click id says nothing more of it: a repeat that lost it on the way is a repeat.
    Parameters that we do not know are no part of it.
    """
    left_out = "cid" if texts["order"] else ""
    said = [[name, text] for name, text in sorted(texts.items()) if name in _SAID and text and name != left_out]
    return blake2b(orjson.dumps([via, said]), digest_size=16).digest()


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


def _instant_ms(text: str, at_ms: int, errors: dict[str, str]) -> int | None:
    if not text:
        return None
    if not _TS.fullmatch(text) or not 0 < int(text) <= at_ms // 1000 + CLOCK_TOLERANCE_S:
        errors["ts"] = "An instant is in whole seconds since 1970, and not in the future."
        return None
    return int(text) * 1000
