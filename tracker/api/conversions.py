"""Conversions and their reports over REST: looked through, judged again, given by hand, corrected, brought in."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from flask import Response, request
from sqlalchemy.orm import Session

from tracker import campaigns, conversionfile, conversions, corrections, days, inbox, money
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.openapi import operation
from tracker.api.problems import answer
from tracker.api.schemas import (
    ConversionEdit,
    ConversionsQuery,
    ImportQuery,
    ReportMatch,
    ReportsQuery,
    read_body,
    read_query,
)
from tracker.api.tables import csv_stream, page_by_id, with_local
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.inbox import WantedConversions, WantedReports
from tracker.models import Conversion, Report, Workspace
from tracker.services import services

JSON_LINES = ("application/x-ndjson", "application/jsonl", "application/json-lines")
IMPORTED_MAX = 1_000  # rows of a file that come in one request
EXPORTED_AT_ONCE = 500
blueprint = protected("api_conversions", __name__)


def wanted_reports(session: Session, own: Workspace, asked: Mapping[str, Any]) -> WantedReports:
    """What a query by ReportsQuery's names looks for. Raises NotFound for a campaign that is not there."""
    return WantedReports(
        result=asked.get("result"),
        reason=asked.get("reason"),
        via=asked.get("via"),
        goal=asked.get("goal"),
        status=asked.get("status"),
        **_common(session, own, asked),
    )


def wanted_conversions(session: Session, own: Workspace, asked: Mapping[str, Any]) -> WantedConversions:
    """The same by ConversionsQuery's names."""
    return WantedConversions(
        status=asked.get("status"),
        goal=asked.get("goal"),
        matched_by=asked.get("matched_by"),
        **_common(session, own, asked),
    )


def _common(session: Session, own: Workspace, asked: Mapping[str, Any]) -> dict[str, Any]:
    zone = ZoneInfo(own.timezone)
    first: date | None = asked.get("from_")
    last: date | None = asked.get("to")
    campaign = asked.get("campaign")
    return {
        "campaign_id": campaigns.find(session, own, campaign).id if campaign else None,
        "sale": asked.get("sale"),
        "since": days.start_of(first, zone) if first else None,
        "until": days.start_of(last + timedelta(days=1), zone) if last else None,
    }


@blueprint.get("/conversions")
@blueprint.get("/conversions.csv")
@operation("Conversions, newest first", query=ConversionsQuery)
def recorded() -> Response:
    query = read_query(ConversionsQuery)
    wanted = wanted_conversions(db.session(), workspace(), query)
    fetch = partial(inbox.recorded, db.session(), workspace(), wanted)
    return page_by_id(fetch, shapes.conversion, query, exported=_is_exported)


@blueprint.get("/conversions/<int:conversion_id>")
@operation("A conversion with its ledger: what became of it, row by row")
def show(conversion_id: int) -> Response:
    return answer(200, shapes.conversion_with_ledger(inbox.conversion(db.session(), workspace(), conversion_id)))


@blueprint.patch("/conversions/<int:conversion_id>")
@operation("Correct status and value by hand", body=ConversionEdit)
def correct(conversion_id: int) -> Response:
    """The value stays where none is given; what was known stays in the ledger."""
    asked = read_body(ConversionEdit)
    found = inbox.conversion(db.session(), workspace(), conversion_id)
    amount = read_amount(asked.get("value"), asked.get("currency"), found, workspace())
    corrections.correct(db.session(), found, status=asked.get("status") or found.status, amount=amount)
    return answer(200, shapes.conversion_with_ledger(found))


def read_amount(value: str | None, currency: str | None, found: Conversion, own: Workspace) -> money.Money | None:
    """A value as typed, in its currency, the conversion's or the workspace's. Raises Invalid naming the field."""
    code = (currency or found.currency or own.currency).strip().upper()
    if not money.is_currency(code):
        raise Invalid({"currency": "A currency is an ISO 4217 code, like EUR."})
    if not value:
        return None
    try:
        amount = money.parse(value.strip(), code)
    except ValueError as error:
        raise Invalid({"value": str(error)}) from None
    if amount.minor < 0:
        raise Invalid({"value": "A value is not negative; say refunded instead."})
    return amount


@blueprint.get("/conversions/reports")
@blueprint.get("/conversions/reports.csv")
@blueprint.get("/reports", endpoint="reports")
@blueprint.get("/reports.csv", endpoint="reports")
@operation("Every conversion report as it came in, with what became of it", query=ReportsQuery)
def reported() -> Response:
    query = read_query(ReportsQuery)
    wanted = wanted_reports(db.session(), workspace(), query)
    fetch = partial(inbox.reports, db.session(), workspace(), wanted)
    return page_by_id(fetch, shapes.report, query, exported=_is_exported)


@blueprint.get("/reports/<int:report_id>")
@operation("A report, with what became of it")
def show_report(report_id: int) -> Response:
    return answer(200, shapes.report(inbox.report(db.session(), workspace(), report_id)))


@blueprint.post("/conversions/reports/<int:report_id>/retry")
@blueprint.post("/reports/<int:report_id>/retry", endpoint="retry_report")
@operation("Judge a report again by what is known now")
def retry(report_id: int) -> Response:
    found = inbox.report(db.session(), workspace(), report_id)
    conversions.retry(db.session(), found, services().settings.secrets.keys)
    db.session.commit()
    return answer(200, shapes.report(found))


@blueprint.post("/conversions/reports/<int:report_id>/match")
@blueprint.post("/reports/<int:report_id>/match", endpoint="match_report")
@operation("Give a report by hand to a click or to a campaign", body=ReportMatch)
def match(report_id: int) -> Response:
    asked = read_body(ReportMatch)
    found = inbox.report(db.session(), workspace(), report_id)
    given = {name: asked.get(name) or "" for name in ("click_id", "campaign")}
    corrections.match(db.session(), workspace(), found, services().settings.secrets.keys, **given)
    return answer(200, shapes.report(found))


@blueprint.post("/conversions/import")
@operation("Bring in conversions and corrections as CSV or JSON lines, a thousand rows at most", query=ImportQuery)
def bring_in() -> Response:
    """With `dry_run` nothing is stored. Rows are named as a spreadsheet numbers them, of JSON lines by the line."""
    dry_run: bool = read_query(ImportQuery)["dry_run"]
    settings, own = services().settings, workspace()
    keys = settings.secrets.keys
    read = conversionfile.read_lines if request.mimetype in JSON_LINES else conversionfile.read
    content = io.BytesIO(request.get_data())
    upload = conversionfile.keep(settings.data_dir, own, content, keys, days.now(), read=read)
    try:
        rows_given = conversionfile.progress(upload, dry_run=dry_run).rows
        if rows_given > IMPORTED_MAX:
            raise Invalid({"body": f"At most {IMPORTED_MAX:,} rows; the page and the command take more."})
        while conversionfile.go_on(db.session(), own, upload, keys, dry_run=dry_run) < rows_given:
            pass
        state = conversionfile.progress(upload, dry_run=dry_run)
        rows = [conversionfile.as_row(line) for line in conversionfile.lines(upload, dry_run=dry_run)]
    finally:
        upload.drop()
    return answer(200, {"stored": not dry_run, "results": state.results, "rows": rows})


def reports_csv(own: Workspace, wanted: WantedReports) -> Response:
    """All reports that a filter leaves, less those under Global Privacy Control, which reach no export."""
    return csv_stream(_pages(inbox.reports, own, wanted, shapes.report), "reports.csv")


def conversions_csv(own: Workspace, wanted: WantedConversions) -> Response:
    """The same of conversions."""
    return csv_stream(_pages(inbox.recorded, own, wanted, shapes.conversion), "conversions.csv")


def _pages(
    fetch: Callable[..., Sequence[Report] | Sequence[Conversion]],
    own: Workspace,
    wanted: Any,
    shape: Callable[[Any], dict[str, Any]],
) -> Iterator[list[dict[str, Any]]]:
    before_id, zone = None, ZoneInfo(own.timezone)
    while found := fetch(db.session(), own, wanted, before_id=before_id, limit=EXPORTED_AT_ONCE):
        before_id = found[-1].id
        rows = [with_local(shape(row), zone) for row in found if _is_exported(row)]
        db.session.rollback()  # nothing is held while the reader takes its time
        yield rows


def _is_exported(row: Report | Conversion) -> bool:
    """Nobody reaches an export who asked not to be followed, nor does what others reported of the same sale."""
    sale = row.conversion if isinstance(row, Report) else row
    return not row.gpc and (sale is None or not sale.gpc)
