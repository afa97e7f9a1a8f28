r"""The rdata of a record from its text: which fields each type has. Pure.

A type is a row of fields, each of which takes tokens and gives octets. Types that have no row are written as RFC 3597
section 5 says, `\# LENGTH HEX`, which every type accepts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TypeAlias

import dnslib

from dnsd.plugins.file import fields, structured
from dnsd.plugins.file.fields import BadField, Cursor
from dnsd.wire import codes
from dnsd.wire.codes import Type
from dnsd.wire.records import Buffer

Field: TypeAlias = Callable[[Cursor], bytes]

MAX_RDATA = 64_999
"""Octets: what a message over TCP has room for beside its header and the longest question and owner name."""

_DNSKEY = (fields.u16, fields.u8, fields.algorithm, fields.base64_rest)
_DS = (fields.u16, fields.algorithm, fields.u8, fields.hex_rest)
_TLSA = (fields.u8, fields.u8, fields.u8, fields.hex_rest)
_SVCB = (fields.u16, fields.name, structured.service_parameters)
_RRSIG = (
    fields.type_number, fields.algorithm, fields.u8, fields.period,
    fields.moment, fields.moment, fields.u16, fields.name, fields.base64_rest,
)  # fmt: skip

_FIELDS: Mapping[int, tuple[Field, ...]] = {
    1: (fields.ipv4,),  # A
    2: (fields.name,),  # NS
    5: (fields.name,),  # CNAME
    6: (fields.name, fields.name, fields.u32, fields.period, fields.period, fields.period, fields.period),  # SOA
    12: (fields.name,),  # PTR
    13: (fields.string, fields.string),  # HINFO
    15: (fields.u16, fields.name),  # MX
    16: (fields.strings,),  # TXT
    17: (fields.name, fields.name),  # RP
    18: (fields.u16, fields.name),  # AFSDB
    21: (fields.u16, fields.name),  # RT
    28: (fields.ipv6,),  # AAAA
    29: (structured.location,),  # LOC
    33: (fields.u16, fields.u16, fields.u16, fields.name),  # SRV
    35: (fields.u16, fields.u16, fields.string, fields.string, fields.string, fields.name),  # NAPTR
    36: (fields.u16, fields.name),  # KX
    37: (fields.certificate_type, fields.u16, fields.algorithm, fields.base64_rest),  # CERT
    39: (fields.name,),  # DNAME
    42: (structured.prefixes,),  # APL
    43: _DS,
    44: (fields.u8, fields.u8, fields.hex_rest),  # SSHFP
    45: (structured.ipsec_key,),  # IPSECKEY
    46: _RRSIG,
    47: (fields.name, fields.type_bitmap),  # NSEC
    48: _DNSKEY,
    49: (fields.base64_rest,),  # DHCID
    50: (fields.u8, fields.u8, fields.u16, fields.salt, fields.next_hash, fields.type_bitmap),  # NSEC3
    51: (fields.u8, fields.u8, fields.u16, fields.salt),  # NSEC3PARAM
    52: _TLSA,
    53: _TLSA,  # SMIMEA
    59: _DS,  # CDS
    60: _DNSKEY,  # CDNSKEY
    61: (fields.base64_rest,),  # OPENPGPKEY
    62: (fields.u32, fields.u16, fields.type_bitmap),  # CSYNC
    63: (fields.u32, fields.u8, fields.u8, fields.hex_rest),  # ZONEMD
    64: _SVCB,
    65: _SVCB,  # HTTPS
    99: (fields.strings,),  # SPF
    108: (fields.hardware_address(6),),  # EUI48
    109: (fields.hardware_address(8),),  # EUI64
    256: (fields.u16, fields.u16, fields.octets_rest),  # URI
    257: (fields.u8, fields.string, fields.octets_rest),  # CAA
}

_READ: Mapping[int, type[dnslib.RD]] = {
    Type.A: dnslib.A,
    Type.AAAA: dnslib.AAAA,
    Type.NS: dnslib.NS,
    Type.CNAME: dnslib.CNAME,
    Type.PTR: dnslib.PTR,
    Type.SOA: dnslib.SOA,
    Type.MX: dnslib.MX,
    Type.SRV: dnslib.SRV,
    Type.DNAME: dnslib.RDMAP["DNAME"],
}
"""Types whose rdata others look into, or whose names may be compressed (RFC 1035 section 4.1.4, RFC 3597 section 4)."""


def to_wire(type_: int, cursor: Cursor) -> bytes:
    """The octets, not compressed, that the remaining tokens write.

    Raises:
        BadField: they do not fit the type.
    """
    wire = _generic(cursor) if cursor.at_generic() else _fields(type_, cursor)
    if len(wire) > MAX_RDATA:
        raise BadField(f"rdata of {len(wire)} octets, {MAX_RDATA} fit into a message")
    return wire


def read(type_: int, wire: bytes) -> dnslib.RD:
    """The rdata that these octets are.

    Raises:
        BadField: they do not fit the type.
    """
    kind = _READ.get(type_)
    if kind is None:
        return dnslib.RD(wire)
    buffer = Buffer(wire)
    try:
        rdata = kind.parse(buffer, len(wire))
        if buffer.offset == len(wire):
            return rdata
    except (dnslib.DNSError, dnslib.BufferError, struct.error, ValueError) as error:
        raise BadField(f"{len(wire)} octets that are no {codes.type_text(type_)} record") from error
    raise BadField(f"octets behind the end of a {codes.type_text(type_)} record")


def _fields(type_: int, cursor: Cursor) -> bytes:
    row = _FIELDS.get(type_)
    if row is None:
        raise BadField(f"the rdata of {codes.type_text(type_)} can only be written as '\\# LENGTH HEX'")
    wire = b"".join([field(cursor) for field in row])
    cursor.end()
    return wire


def _generic(cursor: Cursor) -> bytes:
    cursor.take("")
    length = cursor.number(0xFFFF)
    data = fields.hex_rest(cursor)
    if len(data) != length:
        raise BadField(f"{len(data)} octets where {length} are announced")
    return data
