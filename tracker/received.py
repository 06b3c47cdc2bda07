"""Reports as they came in, written down whatever became of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tracker import customers, days
from tracker.claims import ALIASES, TEXT_MAX, TOUCHES_TEXT_MAX, Claim, Sighting
from tracker.config import Keys
from tracker.matching import HINTS
from tracker.models import Conversion, Report, Workspace

NAME_MAX = 64  # characters of a parameter's name that are kept
NOT_KEPT = "(not kept)"
NO_NAME = "(no name)"
CROPPED = "…"  # stands where a value was too long, so that it is still too long when it is judged again
_NAME = re.compile(r"[^\W\d][\w.:\[\]$-]*")
_TEST_CODE = re.compile(r"[A-Za-z0-9]{4,32}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a report. `errors` are sentences by field where it was refused."""

    result: str
    conversion_id: int | None = None
    campaign: str | None = None
    reason: str | None = None
    errors: Mapping[str, str] | None = None

    @property
    def hint(self) -> str | None:
        return "; ".join(self.errors.values()) if self.errors else HINTS.get(self.reason or "")


def find(session: Session, sighting: Sighting) -> Report | None:
    """The report of an event that has been recorded before."""
    return session.scalar(select(Report).where(Report.at_ms == sighting.at_ms, Report.nonce == sighting.nonce))


def outcome_of(report: Report) -> Outcome:
    """What became of it when it was last judged."""
    slug = report.conversion.campaign.slug if report.conversion else None
    return Outcome(report.result, report.conversion_id, slug, report.reason)


def keep(
    session: Session,
    workspace: Workspace,
    params: Mapping[str, str],
    sighting: Sighting,
    keys: Keys,
    outcome: Outcome,
    claim: Claim | None,
) -> Outcome:
    """Writes the report down, whatever became of it. The customer stands in it hashed or not at all.

    Of a parameter that we do not know only the name is kept: its value may be anybody's e-mail address. So may what
    stands where a name should, after an `&` that was not encoded, say: it is kept where it looks like a name.
    """
    report = Report(
        workspace_id=workspace.id,
        at_ms=sighting.at_ms,
        nonce=sighting.nonce,
        via=sighting.via,
        params=_kept_params(params, None if sighting.gpc else keys.customer),
        agent=sighting.agent[:TEXT_MAX] or None,
        signed=sighting.signed,
        gpc=sighting.gpc,
    )
    _write_down(session, report, outcome, claim)
    session.add(report)
    session.flush()
    return outcome


def _kept_params(params: Mapping[str, str], customer_key: bytes | None) -> dict[str, str]:
    sealed = params.get(customers.SEALED, "")
    kept = {
        _kept_name(name[:NAME_MAX]): _storable(_cropped(name, value)) if name in ALIASES else NOT_KEPT
        for name, value in params.items()
        if name not in customers.NAMES
    }
    if customer_key is not None:
        if not customers.is_hash(sealed):
            sealed = customers.seal_params(params, customer_key).get(customers.SEALED, "")
        if sealed:
            kept[customers.NAME] = sealed
    return kept


def _kept_name(name: str) -> str:
    return name if _NAME.fullmatch(name) else NO_NAME


def _storable(text: str) -> str:
    """PostgreSQL cannot look into JSON that holds a NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _cropped(name: str, value: str) -> str:
    length_max = TOUCHES_TEXT_MAX if name == "touches" else TEXT_MAX
    return value if len(value) <= length_max else value[:length_max] + CROPPED


def hold(session: Session, report: Report) -> None:
    """Keeps a report until the commit and reads it anew: of two who judge it again one sees what the other made of it.

    As with conversions, an update that changes nothing holds the row in any database.
    """
    session.execute(update(Report).where(Report.id == report.id).values(via=Report.via))
    session.refresh(report)


def params_of(report: Report) -> dict[str, str]:
    """What a stored report said; its customer was hashed when it came in."""
    params = dict(report.params)
    if customer := params.pop(customers.NAME, ""):
        params[customers.SEALED] = customer
    return params


def sighting_of(report: Report) -> Sighting:
    """When and how it came in."""
    return Sighting(report.at_ms, report.nonce, report.via, report.gpc, report.agent or "", report.signed)


def renew(session: Session, report: Report, outcome: Outcome, claim: Claim | None) -> Outcome:
    """Writes into a report what became of it this time."""
    report.retried_at = days.now()
    _write_down(session, report, outcome, claim)
    session.flush()
    return outcome


def _write_down(session: Session, report: Report, outcome: Outcome, claim: Claim | None) -> None:
    report.result, report.reason, report.hint = outcome.result, outcome.reason, outcome.hint
    report.conversion_id = outcome.conversion_id
    named = customers.NAME in report.params and outcome.conversion_id is not None
    if named and session.get_one(Conversion, outcome.conversion_id).gpc:
        report.params = {name: value for name, value in report.params.items() if name != customers.NAME}
    report.digest = claim.digest if claim else None
    report.event_id = claim.event_id if claim else None
    code = report.params.get("test", "")
    report.test_code = code if _TEST_CODE.fullmatch(code) else None
