"""Whether an event counts by itself: the edge's word, the workspace's lists, the agent. Each agent is judged once.

What can be told only beside other hits (double clicks, floods, sweeps) is the affair of `windows`.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from tracker.events import Event, Kind, Verdict
from tracker.pipeline.labels import known_bot, rewriter
from tracker.pipeline.rules import ONE_ADDRESS, Rules

if TYPE_CHECKING:
    from is_bot import Bots

AGENTS_REMEMBERED_MAX = 50_000
LABEL_MAX = 80
JUDGED_BY_AGENT = frozenset({int(Kind.IMPRESSION), int(Kind.CLICK)})
JUDGED_BY_ADDRESS = JUDGED_BY_AGENT | {int(Kind.HONEYPOT)}
JUDGED_ANEW = frozenset({int(Verdict.COUNTED), int(Verdict.SCANNER)})
VIA_PROXY = "via_proxy"
# These fetch a picture when the mail is first opened: a person looks. Gmail's and Yahoo's own names for them.
IMAGE_PROXIES = ("GoogleImageProxy", "YahooMailProxy")
# Whole agents under which a provider fetches every picture at delivery. Apple's says no more than that; Gmail's has a
# second "Mozilla/5.0" at its end, which no browser has, and was seen by SparkPost in 1–6 % of opens at Gmail.
FETCHED_AT_DELIVERY = {
    "Mozilla/5.0": "Apple Mail Privacy Protection",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0": "Gmail prefetch",
}
NO_AGENT = "no user agent"
NO_LINK = "no link has this code"
NO_WORKSPACE = "no workspace has this key"


class Judgement(NamedTuple):
    """A verdict, in `detail` what it rests on (a bot's name, an unknown code), and the rule that says so."""

    verdict: int
    detail: str | None = None
    rule: str | None = None


COUNTED = Judgement(Verdict.COUNTED)
# What the edge saw and the loader takes from it.
AT_THE_EDGE = {
    int(Verdict.HEAD): Judgement(Verdict.HEAD, None, "method HEAD"),
    int(Verdict.INACTIVE): Judgement(Verdict.INACTIVE, None, "the link is archived or has expired"),
    int(Verdict.INTERNAL): Judgement(Verdict.INTERNAL, "this browser opted out", "opt-out cookie"),
    int(Verdict.SCANNER): Judgement(Verdict.SCANNER, "honeypot", "honeypot"),
}


# The two lists are loaded with the first agent: a server that imports this before it forks should not wait for them.


@cache
def _bots() -> Bots:
    from is_bot import Bots

    bots = Bots()
    # In one order: a set's differs from process to process, and with it what is found where several would do.
    bots.patterns = tuple(sorted(bots.patterns, key=lambda pattern: (-len(pattern), pattern)))
    return bots


@cache
def _patterns() -> list[re.Pattern[str]]:
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    return [re.compile(entry["pattern"]) for entry in CRAWLER_USER_AGENTS_DATA]


def _bot(agent: str) -> Judgement | None:
    """What bot this user agent names, or `None` for a browser. Costs milliseconds once per agent."""
    if not agent.strip():
        return Judgement(Verdict.BOT, NO_AGENT, NO_AGENT)
    found = _bots().find(agent)
    if not found:
        return None
    # Without its version: rules are kept once, and there are to be few of them.
    word = found.partition("/")[0].strip()[:LABEL_MAX].replace("\0", "\ufffd")
    return Judgement(Verdict.BOT, known_bot(agent) or _name_in(agent, found), f"is-bot: “{word}”")


def _name_in(agent: str, found: str) -> str:
    """The whole product name around what was found: `Googlebot-Image`, not `Googlebot`."""
    names = (match.group() for match in (pattern.search(agent) for pattern in _patterns()) if match)
    name = max(names, key=len, default=found)
    whole = re.search(rf"[\w.-]*{re.escape(name)}[\w.-]*", agent)
    return (whole.group() if whole else name).partition("/")[0].strip(" (;.")[:LABEL_MAX] or "bot"


def judge(event: Event, rules: Rules, referrer: str | None, *, known: bool) -> Judgement:
    """The verdict of an event; `known` says whether its code or key was found, `referrer` is its host."""
    verdict, kind = event.verdict, event.kind
    if not known or verdict == Verdict.UNKNOWN_CODE:
        return Judgement(Verdict.UNKNOWN_CODE, event.code, NO_LINK if kind in JUDGED_BY_ADDRESS else NO_WORKSPACE)
    if verdict == Verdict.PREFETCH and kind in JUDGED_BY_ADDRESS:
        return Judgement(verdict, None, f"purpose: {event.params}" if event.params else None)
    if rules.ranges and kind in JUDGED_BY_ADDRESS and verdict in JUDGED_ANEW:
        excluded = rules.ranges.find(event.address)
        if excluded:
            rule = excluded if excluded == ONE_ADDRESS else f"excluded range: {excluded}"
            return Judgement(Verdict.INTERNAL, excluded, rule)
    if verdict == Verdict.TEST:
        return _test(event, rules, referrer)
    if verdict != Verdict.COUNTED:
        return AT_THE_EDGE.get(verdict) or Judgement(verdict)
    # A shop's server reports with a tool's agent: only what a person looks at or follows is judged by it.
    return of_agent(event.agent, referrer, kind, rules) if kind in JUDGED_BY_AGENT else COUNTED


def _test(event: Event, rules: Rules, referrer: str | None) -> Judgement:
    """A test's rule says what the hit would be by itself without its code; none where it would count plainly."""
    usual = Verdict.SCANNER if event.kind == Kind.HONEYPOT else Verdict.COUNTED
    other = judge(event._replace(verdict=int(usual)), rules, referrer, known=True)
    told = f"otherwise {Verdict(other.verdict).word}: {other.rule}" if other.rule else None
    return Judgement(Verdict.TEST, event.params or None, told)


def of_agent(agent: str, referrer: str | None, kind: int, rules: Rules) -> Judgement:
    """The verdict of an impression or a click that only its agent speaks against; where it counts, by what remark."""
    if rules.agents and (listed := rules.agents.find(agent)):
        if listed.is_allowed:
            return Judgement(Verdict.COUNTED, None, f"allow list: “{listed.entry}”")
        return Judgement(Verdict.BOT, known_bot(agent) or listed.entry, f"block list: “{listed.entry}”")
    judgement = _of_agent(agent, kind == Kind.IMPRESSION)
    if judgement is COUNTED and referrer and kind == Kind.CLICK and (gateway := rewriter(referrer)):
        return Judgement(Verdict.COUNTED, gateway, f"rewritten link: {gateway}")
    return judgement


@lru_cache(maxsize=AGENTS_REMEMBERED_MAX)
def _of_agent(agent: str, is_impression: bool) -> Judgement:
    if is_impression:
        if at_delivery := FETCHED_AT_DELIVERY.get(agent):
            return Judgement(Verdict.MACHINE_OPEN, at_delivery, f"fetched at delivery: {at_delivery}")
        if proxy := next((name for name in IMAGE_PROXIES if name in agent), None):
            return Judgement(Verdict.COUNTED, VIA_PROXY, f"image proxy: “{proxy}”")
    return _bot(agent) or COUNTED
