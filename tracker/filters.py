"""What a workspace says of who counts: agents that do or do not, addresses that do not, and the limits of a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sqlalchemy.orm import Session

from tracker import changelog
from tracker.errors import Invalid
from tracker.models import Workspace

AGENTS_MAX = 200
# Of a part of an agent, in characters: two letters are in every browser's.
AGENT_MIN = 3
AGENT_MAX = 120
RANGES_MAX = 200
# Wider ranges are a slip of the pen that would leave everybody out.
WIDEST = {4: 8, 6: 16}
DOUBLE_CLICK_S_MAX = 60
FLOOD_PER_MIN_MAX = 1000
LINES_SHOWN_MAX = 5
LINE_SHOWN_MAX = 60

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Typed:
    """The form as it was typed: lists with an entry a line, limits as text."""

    allowed_agents: str
    blocked_agents: str
    excluded_ranges: str
    double_click_s: str
    flood_per_min: str


def network(text: str) -> Network:
    """An address, or a range in CIDR notation, whatever its bits beyond the prefix. Raises ValueError."""
    if "/" in text:
        return ip_network(text, strict=False)
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return ip_network(mapped or address)


def edit(session: Session, workspace: Workspace, typed: Typed) -> None:
    """Changes what counts from now on and commits. Raises Invalid; each bad line is named."""
    errors: dict[str, str] = {}
    allowed = entries("allowed_agents", typed.allowed_agents, AGENTS_MAX, _agent, errors)
    blocked = entries("blocked_agents", typed.blocked_agents, AGENTS_MAX, _agent, errors)
    ranges = entries("excluded_ranges", typed.excluded_ranges, RANGES_MAX, address_range, errors)
    double_click_s = whole("double_click_s", typed.double_click_s, DOUBLE_CLICK_S_MAX, errors)
    flood_per_min = whole("flood_per_min", typed.flood_per_min, FLOOD_PER_MIN_MAX, errors)
    if errors:
        raise Invalid(errors)
    changelog.set_of_workspace(
        session,
        workspace,
        "rule",
        {
            "excluded_ranges": ranges,
            "blocked_agents": blocked,
            "allowed_agents": allowed,
            "double_click_s": double_click_s,
            "flood_per_min": flood_per_min,
        },
    )
    session.commit()


def _agent(line: str) -> str:
    if not AGENT_MIN <= len(line) <= AGENT_MAX or not line.isprintable():
        raise ValueError(f"a part of an agent has {AGENT_MIN} to {AGENT_MAX} characters")
    return line


def address_range(line: str) -> str:
    """An address or range in its plain spelling. Raises ValueError, for a person to read."""
    try:
        found = network(line)
    except ValueError:
        raise ValueError("that is neither an address nor a range like 192.0.2.0/24") from None
    if found.prefixlen < WIDEST[found.version]:
        raise ValueError(f"that is too wide: /{WIDEST[found.version]} is the widest range")
    return str(found.network_address) if found.num_addresses == 1 else str(found)


def entries(field: str, typed: str, count_max: int, read: Callable[[str], str], errors: dict[str, str]) -> list[str]:
    """The lines that hold anything, each once; notes in `errors` what is wrong with which of them."""
    found: dict[str, None] = {}
    wrong = []
    for number, line in enumerate(typed.splitlines(), start=1):
        if not (line := line.strip()):
            continue
        try:
            found[read(line)] = None
        except ValueError as error:
            shown = line if len(line) <= LINE_SHOWN_MAX else f"{line[:LINE_SHOWN_MAX]}…"
            wrong.append(f"Line {number}, “{shown}”: {error}.")
    if len(found) > count_max:
        wrong.append(f"At most {count_max} lines.")
    if wrong:
        errors[field] = _told(wrong)
    return list(found)


def _told(wrong: Iterable[str]) -> str:
    wrong = list(wrong)
    more = len(wrong) - LINES_SHOWN_MAX
    return " ".join(wrong[:LINES_SHOWN_MAX]) + (f" And {more} more." if more > 0 else "")


def whole(field: str, typed: str, most: int, errors: dict[str, str]) -> int:
    """A number from 0; notes in `errors` what is wrong with it."""
    typed = typed.strip()
    if typed.isascii() and typed.isdecimal() and len(typed) < 10 and int(typed) <= most:
        return int(typed)
    errors[field] = f"Give a whole number from 0 to {most}; 0 switches this off."
    return 0
