"""A workspace's own rules, as the loader asks them: worked out once for each wording, asked millions of times."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from zlib import crc32

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.filters import Network, network
from tracker.models import Workspace

IN_MAX = 500
WORDINGS_REMEMBERED_MAX = 256
REMEMBERED_MAX = 10_000
# What is stored of a hit from one: an address is stored nowhere, and that of an entry for one alone would be.
ONE_ADDRESS = "excluded address"


class Listed(NamedTuple):
    """The entry of an agent list that an agent meets."""

    entry: str
    is_allowed: bool


class AgentLists:
    """Parts of user agents, in any case; an allowed one wins over a blocked one."""

    def __init__(self, allowed: Iterable[str], blocked: Iterable[str]) -> None:
        self._entries = [(entry.lower(), Listed(entry, True)) for entry in allowed]
        self._entries += [(entry.lower(), Listed(entry, False)) for entry in blocked]
        self.find = lru_cache(maxsize=REMEMBERED_MAX)(self._find)

    def _find(self, agent: str) -> Listed | None:
        agent = agent.lower()
        return next((listed for part, listed in self._entries if part in agent), None)


class Ranges:
    """Addresses that are left out; asked once for each length of a prefix and not once for each range."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._by_length: dict[tuple[int, int], dict[int, str]] = {}
        for each in networks:
            size = each.max_prefixlen - each.prefixlen
            name = str(each) if size else ONE_ADDRESS
            self._by_length.setdefault((each.version, size), {})[int(each.network_address) >> size] = name
        self.find = lru_cache(maxsize=REMEMBERED_MAX)(self._find)

    def _find(self, address: str) -> str | None:
        """The range that holds an address; `None` also for what is no address."""
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return None
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        number = int(parsed)
        for (version, size), names in self._by_length.items():
            if version == parsed.version and (name := names.get(number >> size)):
                return name
        return None


@dataclass(frozen=True, slots=True)
class Rules:
    """`None` where a list is empty; limits of 0 are off."""

    agents: AgentLists | None = None
    ranges: Ranges | None = None
    double_click_ms: int = 2000
    flood_per_min: int = 20
    # Changes with whatever of them a stored event can be judged by again.
    fingerprint: int = field(default=0)


DEFAULT = Rules()


def of_workspaces(session: Session, workspace_ids: Collection[int]) -> dict[int, Rules]:
    """The rules of each workspace as they are now."""
    names = (
        Workspace.allowed_agents,
        Workspace.blocked_agents,
        Workspace.excluded_ranges,
        Workspace.double_click_s,
        Workspace.flood_per_min,
    )
    ids, found = sorted(workspace_ids), {}
    for start in range(0, len(ids), IN_MAX):
        query = select(Workspace.id, *names).where(Workspace.id.in_(ids[start : start + IN_MAX]))
        for workspace_id, allowed, blocked, ranges, double_click_s, flood_per_min in session.execute(query):
            wording = (tuple(allowed), tuple(blocked), tuple(ranges))
            found[workspace_id] = _worked_out(*wording, double_click_s, flood_per_min)
    return found


@lru_cache(maxsize=WORDINGS_REMEMBERED_MAX)
def _worked_out(
    allowed: tuple[str, ...], blocked: tuple[str, ...], ranges: tuple[str, ...], double_click_s: int, flood_per_min: int
) -> Rules:
    networks = _networks(ranges)
    return Rules(
        AgentLists(allowed, blocked) if allowed or blocked else None,
        Ranges(networks) if networks else None,
        double_click_s * 1000,
        flood_per_min,
        crc32(repr((allowed, blocked, double_click_s, flood_per_min)).encode()),
    )


def _networks(ranges: Iterable[str]) -> list[IPv4Network | IPv6Network]:
    """Those that can be read: what somebody wrote into the table by hand must not stop the loader."""
    found = []
    for each in ranges:
        try:
            found.append(network(each))
        except ValueError:
            continue
    return found
