"""An audience as a customer list, as each network takes one. Nobody who cannot be matched is in it.

Meta: “How to format a customer list when creating a custom audience” (facebook.com/business/help/2082575038703844)
names the columns; the value that look-alikes are weighed by is a number from zero up (“Value-Based Lookalikes”,
developers.facebook.com). Google: “Formatting guidelines for uploading hashed data” (support.google.com/google-ads/
answer/7476159), whose headers are to be written just so.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from unicodedata import normalize
from zoneinfo import ZoneInfo

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from tracker.audiences import who
from tracker.audiences.rules import Rule
from tracker.models import Conversion, Workspace
from tracker.money import Money
from tracker.reported import Audience, Identity

LIST_MAX = 1_000_000  # customers of one list
AT_ONCE = 2_000
FILE_NAME_MAX = 60
META, GOOGLE = "meta", "google"
HEADERS = {META: ("email", "phone", "value"), GOOGLE: ("Email", "Phone")}


def pages(
    session: Session, workspace: Workspace, rules: Sequence[Rule], network: str, currency: str, now: datetime
) -> Iterator[str]:
    """The lines of a list, the header alone first and then many at a time.

    `currency` is that of Meta's value column: what was spent in it over all time, net of what was taken back.
    """
    query = _for_meta(workspace, currency) if network == META else _for_google()
    query = query.where(Identity.workspace_id == workspace.id, Identity.opted_out.is_(False))
    query = query.where(Identity.customer.in_(who.members(workspace, rules, now)))
    found = session.execute(query.order_by(Identity.customer).limit(LIST_MAX), execution_options={"yield_per": AT_ONCE})
    yield _csv([HEADERS[network]])
    for some in found.partitions():
        if network == META:
            yield _csv([(email, phone, Money(int(minor), currency).amount) for email, phone, minor in some])
        else:
            yield _csv(some)


def _for_meta(workspace: Workspace, currency: str) -> Select[*tuple[Any, ...]]:
    spent = (
        select(Conversion.customer, func.sum(Conversion.minor).label("minor"))
        .where(who.known(workspace), who.COUNTED, Conversion.currency == currency)
        .group_by(Conversion.customer)
        .subquery()
    )
    query = select(Identity.meta_email, Identity.meta_phone, func.coalesce(spent.c.minor, 0))
    return query.outerjoin(spent, spent.c.customer == Identity.customer).where(who.AT_META)


def _for_google() -> Select[*tuple[Any, ...]]:
    return select(Identity.google_email, Identity.google_phone).where(who.AT_GOOGLE)


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def file_name(audience: Audience, network: str, now: datetime, zone: ZoneInfo) -> str:
    """A name that any file system takes: the audience in plain letters, the network, the local day."""
    plain = normalize("NFKD", audience.name).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:FILE_NAME_MAX].strip("-")
    return f"{words or f'audience-{audience.id}'}-{network}-{now.astimezone(zone):%Y-%m-%d}.csv"
