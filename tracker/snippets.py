"""What a marketer pastes: addresses and the few lines of HTML around them."""

from __future__ import annotations

from dataclasses import dataclass

from tracker import utm
from tracker.events import TEST_PARAM
from tracker.models import Link, Workspace

IMPRESSION = '<img src="{url}" width="1" height="1" alt="" border="0">'
HONEYPOT = '<a href="{url}" rel="nofollow" tabindex="-1" aria-hidden="true" style="display:none"></a>'
CONVERSION = (
    '<img src="{url}?cid=CID&amp;order=ORDER&amp;value=49.90&amp;currency={currency}" width="1" height="1" alt="">'
)
SCRIPT = '<script src="{url}/t.js" data-key="{key}"{param} defer></script>'
PINNED = (
    '<script src="{url}/t.{version}.js" integrity="{hash}" crossorigin="anonymous"'
    ' data-key="{key}"{param} defer></script>'
)
# The hash of each released version of the script. Pages name them, so a released file is never edited.
RELEASED = {
    1: "sha384-J3hJui7rql/17D5ZXWFY7wxXZsXWm5bSNGbwfNrRUPEpUUPmYKyTD4Aky4xw6Q4z",
}
SCRIPT_VERSION = max(RELEASED)
# As many networks write it; others have a name of their own for it.
COST = "{cost}"
CALLBACK = "curl '{url}' -d cid=CID -d order=ORDER -d value=49.90 -d currency={currency}"


@dataclass(frozen=True, slots=True)
class LinkSnippets:
    """For one link. Codes and addresses hold no character that HTML would need escaped.

    `cost_url` is for an ad network, which puts a click's cost in the place of {cost}; `None` where the link reads none.
    """

    short_url: str
    cost_url: str | None
    impression_pixel_url: str
    impression_pixel_html: str
    honeypot_html: str


@dataclass(frozen=True, slots=True)
class WorkspaceSnippets:
    """For landing and thank-you pages: CID and ORDER stand where the shop puts its own values."""

    conversion_pixel_url: str
    conversion_pixel_html: str
    callback_url: str
    callback_curl: str
    script_html: str
    script_pinned_html: str


@dataclass(frozen=True, slots=True)
class Site:
    """What recipes are filled in with. `param` is the click id's name in a URL; nothing here needs escaping."""

    url: str
    key: str
    currency: str
    param: str

    @property
    def param_attribute(self) -> str:
        """For the script's tag: it has to be told of any name but its own default, `cid`."""
        return "" if self.param == "cid" else f' data-param="{self.param}"'

    @property
    def param_query(self) -> str:
        """The same for the script's address, where a tag manager drops attributes."""
        return "" if self.param == "cid" else f"&param={self.param}"


@dataclass(frozen=True, slots=True)
class TryOut:
    """Addresses that carry a test code; those of a link are empty where there is none."""

    short_url: str
    impression_pixel_url: str
    landing_url: str
    conversion_pixel_url: str
    callback_url: str
    callback_curl: str


def short_url(code: str, public_url: str) -> str:
    return f"{public_url}/{code}"


def of_link(link: Link, public_url: str) -> LinkSnippets:
    pixel = f"{public_url}/i/{link.code}.gif"
    return LinkSnippets(
        short_url=short_url(link.code, public_url),
        cost_url=f"{short_url(link.code, public_url)}?{link.cost_param}={COST}" if link.cost_param else None,
        impression_pixel_url=pixel,
        impression_pixel_html=IMPRESSION.format(url=pixel),
        honeypot_html=HONEYPOT.format(url=f"{public_url}/h/{link.code}"),
    )


def of_workspace(workspace: Workspace, public_url: str, click_id_param: str) -> WorkspaceSnippets:
    """`click_id_param` is the setting's: the name under which links hand on a click id."""
    site = Site(public_url, workspace.key, workspace.currency, click_id_param)
    callback = f"{site.url}/c/{site.key}"
    pixel = f"{callback}.gif"
    released = {"version": SCRIPT_VERSION, "hash": RELEASED[SCRIPT_VERSION]}
    return WorkspaceSnippets(
        conversion_pixel_url=pixel,
        conversion_pixel_html=CONVERSION.format(url=pixel, currency=site.currency),
        callback_url=callback,
        callback_curl=CALLBACK.format(url=callback, currency=site.currency),
        script_html=SCRIPT.format(url=site.url, key=site.key, param=site.param_attribute),
        script_pinned_html=PINNED.format(url=site.url, key=site.key, param=site.param_attribute, **released),
    )


def of_test(code: str, workspace: Workspace, link: Link | None, public_url: str) -> TryOut:
    """What to ask for under a test code. CID stands where the click id goes that the landing page got."""
    mark = f"?{TEST_PARAM}={code}"
    callback = f"{public_url}/c/{workspace.key}"
    sale = f"order=TEST-1&value=49.90&currency={workspace.currency}&cid=CID&test={code}"
    return TryOut(
        short_url=short_url(link.code, public_url) + mark if link else "",
        impression_pixel_url=f"{public_url}/i/{link.code}.gif{mark}" if link else "",
        landing_url=_with_pair(link.tagged_url, mark[1:]) if link else "",
        conversion_pixel_url=f"{callback}.gif?{sale}",
        callback_url=f"{callback}?{sale}",
        callback_curl=" ".join([f"curl '{callback}'", *(f"-d {pair}" for pair in sale.split("&"))]),
    )


def _with_pair(url: str, pair: str) -> str:
    parts = utm.split(url)
    return parts._replace(query=utm.append(parts.query, pair)).join()
