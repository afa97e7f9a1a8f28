"""Addresses of this host's network interfaces, by getifaddrs(3)."""

from __future__ import annotations

import ctypes
import socket


class _Sockaddr(ctypes.Structure):
    _fields_ = (("family", ctypes.c_uint16), ("data", ctypes.c_uint8 * 26))


class _Ifaddrs(ctypes.Structure):
    pass


_Ifaddrs._fields_ = (
    ("next", ctypes.POINTER(_Ifaddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.POINTER(_Sockaddr)),
)


def addresses() -> dict[str, list[str]]:
    """Interface name to the text of its IP addresses; a link-local IPv6 address carries its scope.

    Raises:
        OSError: the kernel would not say.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    head = ctypes.POINTER(_Ifaddrs)()
    if libc.getifaddrs(ctypes.byref(head)):
        raise OSError(ctypes.get_errno(), "getifaddrs")
    found: dict[str, list[str]] = {}
    try:
        item = head
        while item:
            entry = item.contents
            if entry.address:
                text = _text(entry.address.contents, entry.name.decode())
                if text:
                    found.setdefault(entry.name.decode(), []).append(text)
            item = entry.next
    finally:
        libc.freeifaddrs(head)
    return found


def _text(address: _Sockaddr, interface: str) -> str:
    data = bytes(address.data)
    if address.family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, data[2:6])
    if address.family == socket.AF_INET6:
        text = socket.inet_ntop(socket.AF_INET6, data[6:22])
        return f"{text}%{interface}" if text.startswith("fe80:") else text
    return ""
