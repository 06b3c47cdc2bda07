"""Links over REST."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Response

from tracker import bulk, links
from tracker.api import shapes
from tracker.api.access import protected, workspace
from tracker.api.openapi import operation
from tracker.api.problems import answer
from tracker.api.schemas import BULK_MAX, LinkEdit, LinkNew, LinksNew, PageQuery, read_body
from tracker.api.tables import page_by_id
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
@operation(
    f"Make up to {BULK_MAX:,} links, all or none",
    body=LinksNew,
    answers={
        201: "The links, in order",
        409: "Codes are taken, none was made",
        422: "Fields are refused, none was made",
    },
)
def create_many() -> Response:
    drafts = map(_draft, read_body(LinksNew)["links"])
    name = "links[{}].{}".format
    made = bulk.create_many(db.session(), workspace(), enumerate(drafts), services().own_domain, name=name)
    found = links.of_codes(db.session(), [each.code for each in made])
    return answer(201, {"links": [_shown(found[each.code]) for each in made]})


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
