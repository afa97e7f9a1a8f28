"""Networks as zones: the reverse names of a network's addresses are the names below its zones, and no others."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from dnsd.corefile import zones
from dnsd.corefile.syntax import Word
from tests.corefile.memory import NOWHERE

IPV4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
IPV6 = st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
NEAR = st.integers(0, 127)
"""A bit to flip, so that the address asked for is often next to the network."""


@given(st.one_of(st.tuples(IPV4, st.integers(0, 32)), st.tuples(IPV6, st.integers(0, 128))), NEAR)
def test_zones_of_a_network(
    network: tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int], flipped_bit: int
) -> None:
    address, prefix = network
    asked = type(address)(int(address) ^ (1 << flipped_bit % address.max_prefixlen))
    found = [key.zone for key in zones.keys(Word(f"{address}/{prefix}", NOWHERE))]
    inside = asked in ipaddress.ip_network((address, prefix), strict=False)
    assert any(f".{asked.reverse_pointer}.".endswith(f".{zone}") for zone in found) == inside
    assert any(f".{address.reverse_pointer}.".endswith(f".{zone}") for zone in found)
    assert len(set(found)) == len(found) <= 128
