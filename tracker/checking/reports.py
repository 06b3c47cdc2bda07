"""Conversions that a thank-you page reports: by picture, by a call of t.js, or by options on its tag."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_plus

from tracker import claims, clickid
from tracker.checking import csp, snippet
from tracker.checking.findings import Finding
from tracker.checking.markup import Tag
from tracker.checking.site import KEY, split
from tracker.checking.snippet import View, option
from tracker.checking.way import shown
from tracker.errors import Invalid

PIXEL_PATH = re.compile(r"/c/(?P<key>[^/]+)\.gif")
LAZY_SOURCES = ("data-src", "data-lazy-src", "data-original")
CALL = re.compile(
    r"""tracker\s*(?:\.\s*convert\s*\(|\.\s*push\s*\(\s*\[\s*["']convert["']\s*,)\s*(?=(?P<rest>.{0,2000}))""",
    re.DOTALL,
)
PIXELS_MAX = CALLS_MAX = 20  # that are looked at
CALL_READ_MAX = 200_000  # characters of a script
PAIR = re.compile(
    r"""(?:^|[{,])\s*["']?(?P<name>[A-Za-z_]\w{0,40})["']?\s*:\s*"""
    r"""(?:"(?P<double>[^"\\\n]*)"|'(?P<single>[^'\\\n]*)'|(?P<number>-?\d+(?:\.\d+)?)(?=\s*[,}]))"""
)
NAME = re.compile(r"""[{,]\s*["']?([A-Za-z_]\w{0,40})["']?\s*(?=[:,}])""")
# Spellings of what shops and networks replace, in the order in which they are looked for.
MACRO = re.compile(
    r"\{\{[^{}]{1,60}\}\}|\$\{[^{}]{1,60}\}|\{%[^{}]{1,60}%\}|\{[\w .:|-]{1,60}\}|\[[A-Za-z][\w .:-]{0,60}\]"
    r"|%%[\w .:-]{1,60}%%|%[A-Z_]{3,40}%|<[%?]?[=$\w .:-]{1,60}[%?]?>|__[A-Z]\w{0,40}__|\[\[[^\[\]]{1,60}\]\]"
)
# What our own snippet has for the shop to replace, and what scripts write where they had nothing.
LEFT = frozenset({"CID", "ORDER", "CLICKID", "ORDER_ID", "VALUE", "CURRENCY", "undefined", "null", "NaN", "None"})
OPTIONS = ("order", "value", "currency", "goal", "customer")


@dataclass(frozen=True, slots=True)
class Report:
    """A report as the page has it: what it is called in a sentence, and its parameters by our names.

    None stands for a value that only the browser knows. `with_click_id`: the report has to bring one itself.
    """

    label: str
    params: Mapping[str, str | None]
    with_click_id: bool


def check(view: View) -> Iterator[Finding]:
    pixels = _pixels(view)
    calls = _calls(view)
    marked = [tag for tag in view.working if any(option(tag, name) for name in ("order", "value", "goal"))]
    if not (pixels or calls or marked):
        yield _absence(view)
        return
    reports = [_of_pixel(url) for _, url in pixels]
    reports += [Report("The call of tracker.convert", params, False) for _, params in calls]
    reports += [Report("The script’s tag", _options(tag), False) for tag in marked]
    for tag, url in pixels:
        yield from _pixel(view, tag, url)
    if calls or marked:
        yield from snippet.check(view)
        yield from _call_faults(view, [tag for tag, _ in calls])
    for report in reports:
        yield from _faults(report, view)
    ways = [*(["a pixel"] * bool(pixels)), *(["t.js"] * bool(calls or marked))]
    yield Finding("pixel_found", f"It is reported by {' and by '.join(ways)}.")


def _absence(view: View) -> Finding:
    if view.tag_manager:
        return Finding("tag_manager", f"No report is in the page’s HTML, but a tag manager is ({view.tag_manager}).")
    there = "t.js is on the page, but nothing calls it." if view.working else "There is neither a pixel nor t.js."
    return Finding("pixel_absent", there)


def _pixels(view: View) -> list[tuple[Tag, str]]:
    found = []
    for tag in view.markup.images:
        for name in ("src", *LAZY_SOURCES):
            url = view.url(tag.get(name)) if tag.get(name) else ""
            match = PIXEL_PATH.fullmatch(split(url).path)
            if match and (view.site.is_ours(url) or KEY.fullmatch(match["key"])):
                found.append((tag, url))
                break
        if len(found) == PIXELS_MAX:
            break
    return found


def _pixel(view: View, tag: Tag, url: str) -> Iterator[Finding]:
    match = PIXEL_PATH.fullmatch(split(url).path)
    fault = view.site.key_fault(match["key"]) if match else None
    if fault:
        yield Finding("wrong_key", f"The pixel has {fault}.")
    yield from snippet.host_faults(view, url)
    if tag.where:
        name = "pixel_noscript" if tag.where == "noscript" else "pixel_inert"
        yield Finding(name, f"{shown(url)} stands within {tag.where}.")
    if tag.get("loading").lower() == "lazy" or not tag.get("src"):
        yield Finding("pixel_lazy", f"{shown(url)} is not fetched at once.")
    policies = view.policies_at(tag.position)
    if view.is_secure and url.startswith("http:") and not csp.upgrades(policies):
        yield Finding("pixel_insecure", f"{shown(url)} is fetched without encryption, or not at all.")
    blocked = csp.request_refusal(policies, "img-src", url, view.page.url)
    if blocked:
        yield Finding("csp_pixel", f"{shown(url)} is kept out by “{shown(str(blocked))}”.")


def _calls(view: View) -> list[tuple[Tag, Mapping[str, str | None]]]:
    found: list[tuple[Tag, Mapping[str, str | None]]] = []
    for tag in view.markup.scripts:
        if tag.where or tag.get("src"):
            continue
        for match in CALL.finditer(tag.text[:CALL_READ_MAX]):
            if len(found) < CALLS_MAX:
                found.append((tag, _arguments(match["rest"])))
    return found


def _options(tag: Tag) -> dict[str, str | None]:
    return {name: value for name in OPTIONS if (value := option(tag, name))}


def _arguments(rest: str) -> Mapping[str, str | None]:
    """The literal arguments of a call; what is worked out in the browser is there without a value."""
    if not rest.startswith("{"):
        return dict.fromkeys(OPTIONS)
    inside = _braced(rest)
    found: dict[str, str | None] = dict.fromkeys(NAME.findall(inside))
    for match in PAIR.finditer(inside):
        found[match["name"]] = next(match[kind] for kind in ("double", "single", "number") if match[kind] is not None)
    return found


def _braced(text: str) -> str:
    """A text up to the brace that closes its first one."""
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if not depth:
            return text[: index + 1]
    return text


def _call_faults(view: View, tags: list[Tag]) -> Iterator[Finding]:
    later = [tag for tag in view.working if {"defer", "async"} & tag.attributes.keys()]
    for tag in tags:
        blocked = csp.inline_refusal(view.policies_at(tag.position), tag.text, tag.get("nonce"))
        if blocked:
            yield Finding("csp_inline", f"It is kept from running by “{shown(str(blocked))}”.")
        waits = tag.get("type").lower() == "module" or re.search(r"=>|function|addEventListener|\.push\b", tag.text)
        if later and len(later) == len(view.working) and not waits:
            yield Finding("call_early", "A plain script calls it while the page is being read.")


def _of_pixel(url: str) -> Report:
    return Report("The pixel", dict(claims.read_pixel(split(url).query)), True)


def _faults(report: Report, view: View) -> Iterator[Finding]:
    params, label = report.params, report.label
    if glued := sorted(name for name in params if name.startswith("amp;")):
        yield Finding("parameters_glued", f"{label} has a parameter “{glued[0][:40]}”.")
    left = {name: found for name, value in params.items() if (found := macro_in(value or ""))}
    for name, found in left.items():
        yield Finding("macro_left", f"{label} has “{found}” for {name[:40]}.")
    yield from _absences(report, view)
    known = {name: value for name, value in params.items() if value is not None and name not in left}
    cid = known.get("cid", "")
    if report.with_click_id and cid and not is_click_id(cid):
        yield Finding("click_id_invalid", f"{label} has “{cid[:60]}” for cid.")
    yield from _invalid(label, known, view)


def _absences(report: Report, view: View) -> Iterator[Finding]:
    params, label = report.params, report.label
    if report.with_click_id and "cid" not in params:
        yield Finding("click_id_absent", f"{label} has no parameter cid.")
    if params.get("order", "") == "":
        yield Finding("order_absent", f"{label} has no order.")
    if params.get("value", "") == "":
        yield Finding("value_absent", f"{label} has no value.")
    elif params.get("currency", "") == "":
        yield Finding("currency_default", f"{label} has no currency: it counts as {view.site.workspace.currency}.")


def _invalid(label: str, params: Mapping[str, str], view: View) -> Iterator[Finding]:
    """What the tracker itself would say to these parameters."""
    heard = {name: value for name, value in params.items() if name != "customer"}
    try:
        claims.understand(heard, view.site.workspace, claims.Sighting(0, 0, "pixel"), b"")
    except Invalid as refusal:
        for field, sentence in refusal.errors.items():
            name = f"{field}_invalid" if field in ("value", "currency") else "parameter_invalid"
            yield Finding(name, f"{label} has “{params.get(field, '')[:60]}” for {field}: {sentence}")


def macro_in(value: str) -> str | None:
    """What a sender has left unreplaced in a value, in whatever spelling, once or twice encoded."""
    for text in (value, unquote_plus(value)):
        if text in LEFT:
            return text
        if match := MACRO.search(text):
            return match[0]
    return None


def is_click_id(text: str) -> bool:
    """Whether a text has the shape of a click id."""
    return re.fullmatch(rf"[\w-]{{{clickid.LENGTH}}}", text, re.ASCII) is not None
