"""Who may report conversions by callback: from which addresses, with whose signature, how often."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import orjson
from sqlalchemy.orm import Session

from tracker import changelog, customers, filters, signing
from tracker.claims import ALIASES
from tracker.errors import Invalid, NotAllowed
from tracker.filters import Network
from tracker.models import Workspace

MODES = ("off", "accepted", "required")
RANGES_MAX = 200
PER_MIN_MAX = 1_000_000
UNREAD_MAX_BYTES = 16_384


class Rules(NamedTuple):
    """What a workspace asks of callers. Without ranges any address will do; 0 a minute sets no limit."""

    mode: str
    secrets: tuple[str, ...]
    ranges: tuple[Network, ...]
    per_min: int


class Call(NamedTuple):
    """What is looked at of a callback. `payload` is what a signature is of: the body, or for GET the query string."""

    address: str
    signature: str
    payload: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class Typed:
    """The form as it was typed: a list with an entry a line, a number as text."""

    signature_mode: str
    callback_ranges: str
    callbacks_per_min: str


def rules_of(session: Session, workspace: Workspace) -> Rules:
    secrets = () if workspace.signature_mode == "off" else signing.in_force(session, workspace)
    return Rules(
        workspace.signature_mode,
        tuple(each.secret for each in secrets),
        tuple(map(filters.network, workspace.callback_ranges)),
        workspace.callbacks_per_min,
    )


def check(rules: Rules, call: Call) -> bytes | None:
    """Lets a call in, or raises NotAllowed for its address or Unverified for its signature.

    Answers the digest by which its signature is known again, `None` where it needs none and has none.
    """
    if rules.ranges and not _is_within(call.address, rules.ranges):
        raise NotAllowed({"address": f"Callbacks are taken from listed addresses only, and {call.address} is not one."})
    if rules.mode == "off":
        return None
    if call.signature:
        return signing.verify(call.signature, call.payload, rules.secrets, call.at_ms)
    if rules.mode == "required":
        raise signing.missing()
    return None


def _is_within(address: str, ranges: tuple[Network, ...]) -> bool:
    try:
        own = filters.network(address)
    except ValueError:
        return False
    return any(own.version == each.version and own.network_address in each for each in ranges)


def edit(session: Session, workspace: Workspace, typed: Typed) -> None:
    """Changes who may report from now on and commits. Raises Invalid; each bad line is named."""
    errors: dict[str, str] = {}
    if typed.signature_mode not in MODES:
        errors["signature_mode"] = f"Choose one of {', '.join(MODES)}."
    ranges = filters.entries("callback_ranges", typed.callback_ranges, RANGES_MAX, filters.address_range, errors)
    per_min = filters.whole("callbacks_per_min", typed.callbacks_per_min, PER_MIN_MAX, errors)
    if typed.signature_mode == "required" and not errors and not signing.in_force(session, workspace):
        errors["signature_mode"] = "Make a secret first: without one nobody could report."
    if errors:
        raise Invalid(errors)
    values = {"signature_mode": typed.signature_mode, "callback_ranges": ranges, "callbacks_per_min": per_min}
    changelog.set_of_workspace(session, workspace, "rule", values)
    session.commit()


class Queued(NamedTuple):
    """A callback that waits in the spool, customers hashed. `signature` is the digest of one that held.

    Where nothing was known of the workspace nobody could look: then `call` goes along, and the loader does.
    """

    params: dict[str, str]
    signature: bytes | None = None
    call: Call | None = None

    def encode(self) -> str:
        content: dict[str, object] = {"said": self.params}
        if self.signature is not None:
            content["signature"] = self.signature.hex()
        if self.call is not None:
            content["call"] = self.call._asdict() | {"payload": b64encode(self.call.payload).decode()}
        return orjson.dumps(content).decode()

    @classmethod
    def decode(cls, text: str) -> Queued:
        """Reads what `encode` wrote, and what was queued before signatures were known: parameters alone."""
        content = orjson.loads(text)
        if not isinstance(content.get("said"), dict):
            return cls(content)
        signature, call = content.get("signature"), content.get("call")
        if call is not None:
            call = Call(call["address"], call["signature"], b64decode(call["payload"]), call["at_ms"])
        return cls(content["said"], bytes.fromhex(signature) if signature else None, call)


def may_queue_unread(params: Mapping[str, str], payload: bytes) -> bool:
    """Whether a signed payload may lie in the spool as it was sent: it is short, and names nobody."""
    ours = all(name in ALIASES and name != customers.NAME for name in params)
    return ours and len(payload) <= UNREAD_MAX_BYTES
