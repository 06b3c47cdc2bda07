"""Which addresses the checker may fetch from: a table of those that look harmless and are not."""

from __future__ import annotations

import pytest

from tracker import addresses

pytestmark = pytest.mark.any_database

CLOSED = {
    "this network": ("0.0.0.0", "0.0.0.1", "0.255.255.255", "::"),
    "loopback": ("127.0.0.1", "127.1.2.3", "127.255.255.254", "::1"),
    "private": ("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"),
    "shared by a provider's customers": ("100.64.0.1", "100.127.255.254", "100.100.100.200"),
    "link-local, and what clouds tell their machines": ("169.254.0.1", "169.254.169.254", "169.254.170.2", "fe80::1"),
    "link-local with a zone": ("fe80::1%eth0", "fe80::1%1", "2a00:1450::1%eth0"),
    "told to machines of single clouds": ("168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    "unique local": ("fc00::1", "fd12:3456::1", "fdff:ffff::1"),
    "site-local of old": ("fec0::1",),
    "multicast": ("224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"),
    "reserved and broadcast": ("240.0.0.1", "255.255.255.255"),
    "documentation": ("192.0.2.1", "198.51.100.7", "203.0.113.9", "2001:db8::1", "3fff::1"),
    "measurements": ("198.18.0.1", "198.19.255.255", "2001:2::1"),
    "protocol assignments": ("192.0.0.1", "192.0.0.170", "192.88.99.1", "2001:10::1", "2001:20::1"),
    "sinks": ("192.31.196.1", "192.52.193.1", "192.175.48.1", "2620:4f:8000::1", "100::1", "5f00::1"),
    "IPv4 mapped into IPv6": ("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::ffff:0.0.0.0"),
    "IPv4 within IPv6 of old": ("::127.0.0.1", "::10.0.0.1", "::8.8.8.8", "::ffff:0:8.8.8.8"),
    "6to4": ("2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::", "2002:808:808::1"),
    "Teredo": ("2001::1", "2001:0:4136:e378:8000:63bf:80ff:fffe"),
    "NAT64 of what is closed": ("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::c0a8:1"),
    "NAT64 of a local prefix": ("64:ff9b:1::808:808", "64:ff9b:1:a9fe:a9:fe00::"),
    "ISATAP of what is closed": ("2a00:1450::5efe:7f00:1", "2a00:1450::200:5efe:c0a8:1", "2a00:1450::5efe:10.0.0.1"),
}
OPEN = (
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "126.255.255.255"),
    *("128.0.0.1", "169.253.255.255", "169.255.0.1", "172.15.255.255", "172.32.0.1", "192.167.255.255", "192.169.0.1"),
    *("168.63.129.17", "198.17.255.255", "198.20.0.1", "223.255.255.255", "2a00:1450:4001::1", "2606:4700::1111"),
    *("2001:4860:4860::8888", "2400:cb00::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2a00:1450::5efe:808:808"),
)


@pytest.mark.parametrize("text", [text for texts in CLOSED.values() for text in texts])
def test_an_address_that_is_not_everybodys_is_closed(text: str) -> None:
    address = addresses.read_address(text)
    assert address is not None
    assert not addresses.is_public(address)
    assert not addresses.is_allowed(address, ())


@pytest.mark.parametrize("text", OPEN)
def test_a_public_address_is_open(text: str) -> None:
    address = addresses.read_address(text)
    assert address is not None
    assert addresses.is_public(address)


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f000001", "2130706433", "017700000001", "[::1]", "1.1.1.1/8"]
)
def test_only_an_address_in_its_plain_form_is_one(text: str) -> None:
    assert addresses.read_address(text) is None


def test_a_network_that_somebody_opened_is_open_in_each_spelling_and_no_other() -> None:
    networks = addresses.read_networks("10.1.0.0/16, fd12::/32")
    for text in ("10.1.2.3", "::ffff:10.1.2.3", "fd12::5", "8.8.8.8"):
        address = addresses.read_address(text)
        assert address is not None
        assert addresses.is_allowed(address, networks)
    for text in ("10.2.0.1", "127.0.0.1", "169.254.169.254", "fd13::5", "::1", "64:ff9b::a01:203"):
        address = addresses.read_address(text)
        assert address is not None
        assert not addresses.is_allowed(address, networks)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "intranet", "10.0.0.0/33", ",".join(["10.0.0.0/8"] * 51)])
def test_networks_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"does not appear|not permitted|has host bits|at most"):
        addresses.read_networks(text)
