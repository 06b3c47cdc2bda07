"""Our script on a page: whether it is there, ours, where it runs, and let in by the page's policies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from urllib.parse import parse_qs

from tracker.answers import Page
from tracker.checking import csp
from tracker.checking.findings import Finding
from tracker.checking.markup import Markup, Tag, absolute
from tracker.checking.site import Site, host, split
from tracker.checking.way import shown

SNIPPETS_MAX = 20  # tags that are looked at
# `t.js`, or one of its versions.
SCRIPT_PATH = re.compile(r"/t(?:\.\d+)?\.js")
TAG_MANAGER = re.compile(r"googletagmanager\.com/(?:gtm\.js|ns\.html)", re.IGNORECASE)
SCRIPT_TYPES = frozenset({"", "module", "text/javascript", "application/javascript", "text/ecmascript"})


@dataclass(frozen=True)
class View:
    """A page with what was read of it."""

    page: Page
    markup: Markup
    policies: list[csp.Policy]
    site: Site

    def url(self, text: str) -> str:
        """An address in the page's HTML as a whole one."""
        return absolute(absolute(self.page.url, self.markup.base), text.strip())

    @property
    def is_secure(self) -> bool:
        return self.page.url.startswith("https:")

    def policies_at(self, position: int | None = None) -> list[csp.Policy]:
        """Those that hold for a tag at this position, or once the page is there: one in `<meta>` holds behind it."""
        texts = [text for at, text in self.markup.policies if position is None or at < position]
        # In `<meta>` a sandbox means nothing (CSP 3, 3.3).
        inside = [{name: words for name, words in policy.items() if name != "sandbox"} for policy in csp.parse(texts)]
        return [*self.policies, *inside]

    @cached_property
    def snippets(self) -> list[Tag]:
        """The first tags that mean to load our script, wherever they stand: each costs a look at the policies."""
        return list(islice(filter(self._is_snippet, self.markup.scripts), SNIPPETS_MAX))

    @property
    def working(self) -> list[Tag]:
        return [tag for tag in self.snippets if not tag.where]

    @cached_property
    def tag_manager(self) -> str | None:
        """Where a tag manager is loaded from, if one is."""
        addresses = [tag.get("src") for tag in (*self.markup.scripts, *self.markup.frames)]
        texts = [tag.text for tag in self.markup.scripts]
        found = (TAG_MANAGER.search(text) for text in (*addresses, *texts))
        return next((match[0] for match in found if match), None)

    def _is_snippet(self, tag: Tag) -> bool:
        url = self.url(tag.get("src")) if tag.get("src") else ""
        if not SCRIPT_PATH.fullmatch(split(url).path):
            return False
        return self.site.is_ours(url) or bool(option(tag, "key"))


def option(tag: Tag, name: str) -> str:
    """An option of the script: `data-NAME`, or in the query of its address."""
    return tag.get(f"data-{name}") or parse_qs(split(tag.get("src")).query).get(name, [""])[0]


def param_name(view: View) -> str | None:
    """The click id's name that the script on the page looks for; None without a script."""
    return next((option(tag, "param") or "cid" for tag in view.working), None)


def check(view: View) -> Iterator[Finding]:
    """Everything about the script, as a landing page needs it."""
    if not view.working:
        yield _absence(view)
        return
    if len(view.working) > 1:
        least = "at least " if len(view.snippets) == SNIPPETS_MAX else ""
        yield Finding("snippet_twice", f"It is there {least}{len(view.working)} times.")
    for tag in view.working:
        yield from _faults(view, tag)
    first = view.url(view.working[0].get("src"))
    yield Finding("snippet_found", f"It is loaded from {shown(first)}.")
    yield from _policies(view)


def _absence(view: View) -> Finding:
    if view.snippets:
        return Finding("snippet_inert", f"It stands within {view.snippets[0].where}.")
    key = view.site.workspace.key
    if any("<script" in text and key in text and re.search(r"/t(\.\d+)?\.js", text) for text in view.markup.comments):
        return Finding("snippet_commented_out", "It stands within a comment.")
    if view.tag_manager:
        return Finding("tag_manager", f"t.js is not in the page’s HTML, but a tag manager is ({view.tag_manager}).")
    return Finding("snippet_absent", "No script of its HTML loads t.js.")


def _faults(view: View, tag: Tag) -> Iterator[Finding]:
    url = view.url(tag.get("src"))
    fault = view.site.key_fault(option(tag, "key"))
    if fault:
        yield Finding("wrong_key", f"The script has {fault}.")
    yield from host_faults(view, url)
    if tag.get("type").lower() not in SCRIPT_TYPES:
        yield Finding("snippet_waits", f"Its tag has the type “{tag.get('type')[:60]}”.")
    if view.is_secure and url.startswith("http:") and not csp.upgrades(view.policies_at(tag.position)):
        yield Finding("snippet_insecure", f"It is loaded from {shown(url)}.")


def host_faults(view: View, url: str) -> Iterator[Finding]:
    if view.site.is_ours(url):
        return
    if host(url) == host(view.page.url):
        yield Finding("site_host", f"{shown(url)} is an address of the page’s own site.")
    else:
        yield Finding("wrong_host", f"{shown(url)} is not this tracker’s.")


def _policies(view: View) -> Iterator[Finding]:
    """Where one of several tags is let in, the script is there."""
    refusals = []
    for tag in view.working:
        script = csp.Script(tag.get("nonce"), tag.get("integrity"))
        url = view.url(tag.get("src"))
        refusals.append(csp.script_refusal(view.policies_at(tag.position), url, script, view.page.url))
    if all(refusals):
        yield Finding("csp_script", f"It is kept out by “{shown(str(refusals[0]))}”.")
        return
    found = list(report_refusals(view))
    yield from found
    if not found and view.policies_at():
        yield Finding("csp_open", "The page has a policy, and it lets t.js and its reports through.")


def report_refusals(view: View) -> Iterator[Finding]:
    """What a policy keeps the script from sending: first as a request, else as a picture, and last as a script."""
    url = f"{split(view.url(view.working[0].get('src')))._replace(path='', query='', fragment='').geturl()}/c/x.gif"
    request = csp.request_refusal(view.policies_at(), "connect-src", url, view.page.url)
    picture = csp.request_refusal(view.policies_at(), "img-src", url, view.page.url)
    if request and picture:
        yield Finding("csp_report", f"They are kept back by “{shown(str(request))}” and “{shown(str(picture))}”.")
    elif request:
        yield Finding("csp_request", f"Requests are kept back by “{shown(str(request))}”.")
