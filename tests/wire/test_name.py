"""Names: text and wire and back, and what is none."""

from __future__ import annotations

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.wire import name as names
from dnsd.wire.name import BadName, EmptyLabel, LabelTooLong, NameTooLong

any_labels = st.lists(st.binary(min_size=1, max_size=20), max_size=8).map(tuple)


@given(any_labels)
def test_any_octets_survive_text(name: names.Name) -> None:
    assert names.from_text(names.to_text(name)) == name


@given(any_labels)
def test_text_is_what_dnspython_reads(name: names.Name) -> None:
    assert dns.name.from_text(names.to_text(name)).labels == (*name, b"")


@given(any_labels)
def test_wire_is_what_dnspython_writes(name: names.Name) -> None:
    assert names.to_wire(name) == dns.name.Name((*name, b"")).to_wire()
    assert names.wire_length(name) == len(names.to_wire(name))


@given(any_labels, any_labels)
def test_a_zone_holds_what_ends_in_its_labels(left: names.Name, zone: names.Name) -> None:
    assert names.is_under((*left, *zone), zone)
    assert names.relative((*left, *zone), zone) == left
    assert not names.is_under((b"x", *zone), (b"y", b"x", *zone))


BAD = [
    ("a..b", EmptyLabel),
    (".a", EmptyLabel),
    ("a" * 64, LabelTooLong),
    (".".join(["a" * 63] * 4), NameTooLong),
    ("a\\999", BadName),
    ("a\\", BadName),
]


@pytest.mark.parametrize(("text", "error"), BAD, ids=[repr(text[:12]) for text, _ in BAD])
def test_is_no_name(text: str, error: type[BadName]) -> None:
    with pytest.raises(error):
        names.from_text(text)


def test_labels_and_names_may_be_as_long_as_rfc_1035_says() -> None:
    longest = (b"a" * 63, b"b" * 63, b"c" * 63, b"d" * 61)
    assert names.wire_length(longest) == names.MAX_NAME
    assert names.checked(longest) == longest
    with pytest.raises(NameTooLong):
        names.checked((*longest[:3], b"d" * 62))
