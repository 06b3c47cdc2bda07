"""Conversions brought in as a file: tried first, then recorded, with progress and from where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from tracker import conversionfile, days, inbox
from tracker.api.tables import csv_stream
from tracker.conversionfile import Line, Upload
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.models import Workspace
from tracker.services import services
from tracker.web import responses
from tracker.web.access import PAGE_SIZE, id_from_query, signed_in

pages = Blueprint("imports", __name__)
responses.add_not_found(pages)

FORM_BYTES = 65_536  # what a form has around its file
LINES_AT_ONCE = 1_000


@pages.get("/conversions/import")
@signed_in
def new(_workspace: Workspace) -> ResponseReturnValue:
    return _form({})


def _form(errors: dict[str, str]) -> ResponseReturnValue:
    page = render_template("conversions/import.html", errors=errors, limits=conversionfile)
    return page, 422 if errors else 200


@pages.post("/conversions/import")
@signed_in
def upload(workspace: Workspace) -> ResponseReturnValue:
    """Keeps a file, and begins to try it out. `form_size` is raised before the form is read."""
    file = request.files.get("file")
    if file is None or not file.filename:
        return _form({"file": "Choose a CSV file."})
    settings = services().settings
    try:
        kept = conversionfile.keep(settings.data_dir, workspace, file.stream, settings.secrets.keys, days.now())
    except Invalid as error:
        return _form(error.errors)
    return _go_on(workspace, kept, dry_run=True)


@pages.url_value_preprocessor
def form_size(endpoint: str | None, _values: dict[str, Any] | None) -> None:
    """Comes before whatever looks into the form, as the check of its token does."""
    if endpoint == "imports.upload":
        request.max_content_length = conversionfile.BYTES_MAX + FORM_BYTES


@pages.get("/conversions/import/<name>")
@signed_in
def show(workspace: Workspace, name: str) -> ResponseReturnValue:
    return _page(_find(workspace, name))


@pages.post("/conversions/import/<name>/try")
@signed_in
def try_out(workspace: Workspace, name: str) -> ResponseReturnValue:
    return _go_on(workspace, _find(workspace, name), dry_run=True)


@pages.post("/conversions/import/<name>/record")
@signed_in
def record(workspace: Workspace, name: str) -> ResponseReturnValue:
    return _go_on(workspace, _find(workspace, name), dry_run=False)


@pages.post("/conversions/import/<name>/drop")
@signed_in
def drop(workspace: Workspace, name: str) -> ResponseReturnValue:
    _find(workspace, name).drop()
    return redirect(url_for("imports.new"), code=303)


@pages.get("/conversions/import/<name>/rows.csv")
@signed_in
def rows_csv(workspace: Workspace, name: str) -> ResponseReturnValue:
    """What became of every row, or would."""
    found = _find(workspace, name)
    return csv_stream(_listed(conversionfile.lines(found, dry_run=not found.is_begun)), f"{name}-rows.csv")


@pages.get("/conversions/import/<name>/errors.csv")
@signed_in
def errors_csv(workspace: Workspace, name: str) -> ResponseReturnValue:
    """Those rows alone that need another look."""
    found = _find(workspace, name)
    faults = (line for line in conversionfile.lines(found, dry_run=not found.is_begun) if line.done.errors)
    return csv_stream(_listed(faults), f"{name}-errors.csv")


def _listed(lines: Iterator[Line]) -> Iterator[list[dict[str, Any]]]:
    while some := [conversionfile.as_row(line) for line in islice(lines, LINES_AT_ONCE)]:
        yield some


def _find(workspace: Workspace, name: str) -> Upload:
    return conversionfile.find(services().settings.data_dir, workspace, name)


def _go_on(workspace: Workspace, found: Upload, *, dry_run: bool) -> ResponseReturnValue:
    """A slice of rows; the page that follows goes on by itself where it can."""
    keys = services().settings.secrets.keys
    try:
        conversionfile.go_on(db.session(), workspace, found, keys, dry_run=dry_run)
    except Invalid as error:
        return _page(found, error.errors)
    return redirect(url_for("imports.show", name=found.name), code=303)


def _page(found: Upload, errors: dict[str, str] | None = None) -> ResponseReturnValue:
    is_begun = found.is_begun
    state = conversionfile.progress(found, dry_run=not is_begun)
    result = request.args.get("result") if request.args.get("result") in inbox.RESULTS else None
    after = id_from_query("after") or 0
    lines = conversionfile.lines(found, dry_run=not is_begun, result=result, after=after, limit=PAGE_SIZE + 1)
    shown = list(lines)
    page = render_template(
        "conversions/imported.html",
        name=found.name,
        state=state,
        is_begun=is_begun,
        lines=shown[:PAGE_SIZE],
        after=shown[PAGE_SIZE - 1].done.row if len(shown) > PAGE_SIZE else None,
        result=result,
        errors=errors or {},
    )
    return page, 422 if errors else 200
