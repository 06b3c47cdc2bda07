"""Links over REST."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Response

from tracker import links
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.openapi import operation
from tracker.api.problems import answer
from tracker.api.schemas import LinkEdit, LinkNew, LinksNew, PageQuery, load, read_body
from tracker.api.tables import page_by_id
from tracker.errors import Invalid
from tracker.extensions import db
from tracker.links import LinkDraft
from tracker.models import Link
from tracker.services import services

blueprint = protected("api_links", __name__)


def _draft(content: dict[str, Any]) -> LinkDraft:
    given = {name: value for name, value in content.items() if value is not None}
    return LinkDraft(**given | {"tags": tuple(given.get("tags", ()))})


def _shown(link: Link) -> dict[str, Any]:
    return shapes.link(link, services().public_url)


@blueprint.post("/links")
@operation("Make a link", body=LinkNew, answers={201: "The link", 409: "The code is taken", 422: "A field is refused"})
def create() -> Response:
    draft = _draft(read_body(LinkNew))
    link = links.create(db.session(), workspace(), draft, services().own_domain)
    response = answer(201, _shown(link))
    response.headers["Location"] = f"/api/v1/links/{link.code}"
    return response


@blueprint.post("/links/bulk")
@operation("Make many links; each has its own result", body=LinksNew, answers={200: "A result for each, in order"})
def create_many() -> Response:
    results: list[dict[str, Any]] = []
    for content in read_body(LinksNew)["links"]:
        try:
            link = links.create(db.session(), workspace(), _draft(load(LinkNew, content)), services().own_domain)
        except Invalid as error:
            errors = [{"field": field, "message": message} for field, message in error.errors.items()]
            results.append({"status": error.status, "errors": errors})
        else:
            results.append({"status": 201, "link": _shown(link)})
    return answer(200, {"results": results})


@blueprint.get("/links")
@blueprint.get("/links.csv")
@operation("List links, newest first", query=PageQuery)
def listed() -> Response:
    return page_by_id(partial(links.listed, db.session(), workspace()), _shown)


@blueprint.get("/links/<code>")
@operation("Show a link")
def show(code: str) -> Response:
    return answer(200, _shown(links.find(db.session(), workspace(), code)))


@blueprint.patch("/links/<code>")
@operation("Change a link; what is not given stays", body=LinkEdit)
def edit(code: str) -> Response:
    changes = read_body(LinkEdit)
    archived = changes.pop("archived", None)
    link = links.find(db.session(), workspace(), code)
    if changes:
        if "tags" in changes:
            changes["tags"] = tuple(changes["tags"])
        link = links.edit(db.session(), workspace(), link, changes, services().own_domain)
    if archived is not None:
        links.set_archived(db.session(), link, archived)
    return answer(200, _shown(link))


@blueprint.delete("/links/<code>")
@operation("Archive a link", answers={204: "Archived"})
def archive(code: str) -> Response:
    links.set_archived(db.session(), links.find(db.session(), workspace(), code), True)
    return Response(status=204)
