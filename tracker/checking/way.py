"""The way to a page: what ended it, and whether the click id came through every hop."""

from __future__ import annotations

from collections.abc import Iterator

from tracker import utm
from tracker.answers import Page
from tracker.checking.findings import Finding
from tracker.checking.markup import Markup, absolute, refresh_url
from tracker.checking.site import Site, split
from tracker.fetching import Hop, Journey

SHOWN_MAX = 200


def is_error(page: Page) -> bool:
    return page.status >= 400


def shown(url: str) -> str:
    """A URL as a sentence may hold it."""
    return url if len(url) <= SHOWN_MAX else url[:SHOWN_MAX] + "…"


def place_of(url: str, site: Site) -> str:
    """Where in an address the click id stands: `query NAME`, `path`, `fragment`, or empty for nowhere."""
    if not site.click_id or site.click_id not in url:
        return ""
    parts = utm.split(url)
    for pair in (parts.query or "").split("&"):
        if site.click_id in pair:
            return f"query {utm.name_of(pair)}"
    return "path" if site.click_id in parts.base else "fragment"


def check(journey: Journey, site: Site) -> Iterator[Finding]:
    if journey.problem is not None:
        after = f" Hop {len(journey.hops)} had led to {shown(journey.url)}." if journey.hops else ""
        yield Finding(journey.problem.name, f"{journey.problem}{after}")
    if journey.page is not None and is_error(journey.page):
        yield Finding("page_status", f"{shown(journey.page.url)} answers with {journey.page.status}.")
    yield from _downgrades(journey.hops)
    yield from _losses(journey.hops, site)


def _downgrades(hops: tuple[Hop, ...]) -> Iterator[Finding]:
    for number, hop in enumerate(hops, 1):
        if hop.location and hop.url.startswith("https:") and hop.location.startswith("http:") and not hop.is_ours:
            yield Finding("redirect_insecure", f"Hop {number} leads from {shown(hop.url)} to {shown(hop.location)}.")


def _losses(hops: tuple[Hop, ...], site: Site) -> Iterator[Finding]:
    for number, hop in enumerate(hops, 1):
        if place_of(hop.url, site) and hop.location and not place_of(hop.location, site):
            yield Finding(
                "click_id_lost",
                f"Hop {number}, {shown(hop.url)}, redirects ({hop.status}) to {shown(hop.location)} without it.",
            )


def on_page(page: Page, read: Markup) -> Iterator[Finding]:
    if page.is_cut or read.is_cut:
        yield Finding("page_cut", f"Of this page, the first {len(page.body):,} bytes were read, or less.")
    base = absolute(page.url, read.base)
    for text in (*page.header("refresh")[:1], read.refresh):
        url = refresh_url(text, base) if text else None
        if url and split(url)._replace(fragment="") != split(page.url)._replace(fragment=""):
            yield Finding("page_moves_on", f"It sends everybody on to {shown(url)}, without a redirect.")
            return


def arrival(url: str, param: str | None, site: Site) -> Iterator[Finding]:
    """Whether the click id is where the page's script looks for it: under `param`, where a script is there at all."""
    place = place_of(url, site)
    if place == "fragment":
        yield Finding("click_id_fragment", f"The page was opened as {shown(url)}.")
    elif place.startswith("query ") and param is not None and place != f"query {param}":
        name = place.removeprefix("query ")
        yield Finding("click_id_name", f"It arrives as {name}, and the script on the page looks for {param}.")
    elif place == "path" and param is not None:
        yield Finding("click_id_name", f"It arrives within the path, and the script on the page looks for {param}.")
    elif place:
        yield Finding("click_id_kept", f"It stands in the address that the page is opened with ({place}).")
