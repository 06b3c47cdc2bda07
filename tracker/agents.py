"""Device, system and browser of a user agent, parsed once and remembered."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

AGENTS_REMEMBERED_MAX = 20_000


class AgentFacts(NamedTuple):
    """Texts for a URL; empty where the agent does not tell. `device` is mobile, tablet or desktop."""

    device: str
    os: str
    browser: str


@lru_cache(maxsize=AGENTS_REMEMBERED_MAX)
def describe(agent: str) -> AgentFacts:
    """Costs milliseconds for a new agent, and half a second for the first of a process: not for the event loop."""
    from ua_parser import parse

    found = parse(agent)
    system = found.os.family if found.os else ""
    return AgentFacts(_device(agent, system), system, found.user_agent.family if found.user_agent else "")


def _device(agent: str, system: str) -> str:
    """Android's tablets leave out the word Mobile; everybody else's phones have it (Google's own advice on agents)."""
    if "iPad" in agent or "Tablet" in agent or ("Android" in agent and "Mobile" not in agent):
        return "tablet"
    if "Mobi" in agent:
        return "mobile"
    return "desktop" if system else ""
