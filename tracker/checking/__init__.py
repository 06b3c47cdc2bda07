"""The page checker: what is wrong with a landing or thank-you page, by name. Pure: it is given what was fetched."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tracker.answers import Page
from tracker.checking import csp, markup, reports, snippet, way
from tracker.checking.findings import Finding, Severity
from tracker.checking.site import Site
from tracker.fetching import Journey

__all__ = ["Finding", "Kind", "Severity", "Site", "Verdict", "check"]


class Kind(StrEnum):
    """What a page is for."""

    LANDING = "landing"
    THANK_YOU = "thank_you"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings, the worst first, and where on each hop's address the click id stood."""

    findings: tuple[Finding, ...]
    places: tuple[str, ...]


def check(kind: Kind, journey: Journey, site: Site) -> Verdict:
    """Judges one journey. `site.click_id` is what was sent along, empty where none was."""
    found = list(way.check(journey, site))
    if kind == Kind.LANDING and site.is_off:
        found.append(Finding("click_id_off", "It leads to the page without one, so conversions match no click."))
    if journey.page is not None and not way.is_error(journey.page):
        found += _on_page(kind, journey.page, site)
    # One sentence each, however often a page gives cause for it.
    distinct = tuple(dict.fromkeys(found))
    worst_first = sorted(distinct, key=lambda finding: -list(Severity).index(finding.severity))
    return Verdict(tuple(worst_first), tuple(way.place_of(hop.url, site) for hop in journey.hops))


def _on_page(kind: Kind, page: Page, site: Site) -> list[Finding]:
    read = markup.read(page.body)
    policies = csp.parse(page.header("content-security-policy"))
    view = snippet.View(page, read, policies, site)
    found = list(way.on_page(page, read))
    if kind == Kind.LANDING:
        found += snippet.check(view)
        if site.click_id:
            found += way.arrival(page.url, snippet.param_name(view), site)
        return found
    return [*found, *reports.check(view)]
