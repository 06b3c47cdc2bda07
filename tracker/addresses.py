"""Which addresses of the internet are open to everybody, so that fetching from one reveals nothing of ours.

The rule is a list of what is refused, and not the library's `is_global`: that changes between Python's releases, and
does not look into IPv6 addresses that carry one of IPv4. Sources: IANA's special-purpose registries of 2025, RFC 6890.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NETWORKS_MAX = 50
_CLOSED_IPV4 = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
            *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
            "168.63.129.16/32",  # looks public, and is the service that tells a machine at Azure its secrets
        ),
    )
)
# Only this is handed out to the public; link-local, unique local, multicast, mapped and local NAT64 lie outside.
_OPEN_IPV6 = IPv6Network("2000::/3")
_CLOSED_IPV6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo among them: its addresses carry one of IPv4
            "2001:db8::/32",
            "2002::/16",  # 6to4, given up: its addresses carry one of IPv4
            "2620:4f:8000::/48",
            "3fff::/20",
        ),
    )
)
# What networks without IPv4 call a public IPv4 address (RFC 6052): the one carried decides.
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214, 6.1: the last 64 bits are this and an address of IPv4


def read_address(text: str) -> Address | None:
    """An address as resolvers and sockets write it, in the form that decides: IPv4 where IPv6 only wraps it."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@cache
def read_networks(text: str) -> tuple[Network, ...]:
    """Networks parted by commas, as `10.1.0.0/16, fd12::/32`. Raises ValueError."""
    found = tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    if len(found) > NETWORKS_MAX:
        raise ValueError(f"at most {NETWORKS_MAX} networks")
    return found


def is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not _in(address, _CLOSED_IPV4)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(_carried(address))
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP and not is_public(_carried(address)):
        return False
    return address in _OPEN_IPV6 and not _in(address, _CLOSED_IPV6) and address.scope_id is None


def is_allowed(address: Address, networks: Iterable[Network]) -> bool:
    """Whether one may be fetched from: public, or in one of these networks, which somebody has opened."""
    return is_public(address) or _in(address, networks)


def _in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def _carried(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFFFFFF)
