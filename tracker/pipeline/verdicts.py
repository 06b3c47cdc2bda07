"""Whether an event counts: the edge's word first, then the agent's. Each agent is judged once and remembered."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from tracker.events import Event, Kind, Verdict

if TYPE_CHECKING:
    from is_bot import Bots

AGENTS_REMEMBERED_MAX = 50_000
LABEL_MAX = 80
JUDGED_BY_AGENT = frozenset({int(Kind.IMPRESSION), int(Kind.CLICK)})
# These fetch a picture when the mail is first opened: a person looks. Gmail's and Yahoo's own names for them.
IMAGE_PROXIES = ("GoogleImageProxy", "YahooMailProxy")
# Apple's mail privacy fetches every picture at delivery, under this agent and no more.
MAIL_PRIVACY_AGENT = "Mozilla/5.0"


class Judgement(NamedTuple):
    """A verdict, and in `detail` what it rests on: a bot's name, an unknown code."""

    verdict: int
    detail: str | None = None


# The two lists are loaded with the first agent: a server that imports this before it forks should not wait for them.


@cache
def _bots() -> Bots:
    from is_bot import Bots

    return Bots()


@cache
def _labels() -> list[re.Pattern[str]]:
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA

    return [re.compile(entry["pattern"]) for entry in CRAWLER_USER_AGENTS_DATA]


def bot_label(agent: str) -> str | None:
    """What kind of bot this user agent names, or `None` for a browser. Costs milliseconds once per agent."""
    if not agent.strip():
        return "no user agent"
    found = _bots().find(agent)
    if not found:
        return None
    names = (match.group() for match in (label.search(agent) for label in _labels()) if match)
    name = max(names, key=len, default=found)
    # The whole product name around what was found: `Slackbot-LinkExpanding`, not `Slackbot`.
    whole = re.search(rf"[\w.-]*{re.escape(name)}[\w.-]*", agent)
    return (whole.group() if whole else name).partition("/")[0].strip(" (;.")[:LABEL_MAX] or "bot"


def judge(event: Event, *, known: bool) -> Judgement:
    """The verdict of an event; `known` says whether its code or key was found."""
    verdict = event.verdict
    if not known or verdict == Verdict.UNKNOWN_CODE:
        return Judgement(Verdict.UNKNOWN_CODE, event.code)
    # A shop's server reports with a tool's agent: only what a person looks at or follows is judged by it.
    if verdict != Verdict.COUNTED or event.kind not in JUDGED_BY_AGENT:
        return Judgement(verdict)
    return _of_agent(event.agent, event.kind == Kind.IMPRESSION)


@lru_cache(maxsize=AGENTS_REMEMBERED_MAX)
def _of_agent(agent: str, is_impression: bool) -> Judgement:
    if is_impression and agent == MAIL_PRIVACY_AGENT:
        return Judgement(Verdict.MACHINE_OPEN, "Apple Mail Privacy Protection")
    if is_impression and any(name in agent for name in IMAGE_PROXIES):
        return Judgement(Verdict.COUNTED, "via_proxy")
    label = bot_label(agent)
    return Judgement(Verdict.BOT, label) if label else Judgement(Verdict.COUNTED)
