"""Sends NOTIFY (RFC 1996) to secondaries: one datagram, a few times, until somebody says that it arrived."""

from __future__ import annotations

import asyncio
import logging
import secrets
import struct
from typing import TypeAlias

from dnsd.wire import codes
from dnsd.wire import name as names
from dnsd.wire.codes import Class, Opcode, Rcode, Type
from dnsd.wire.name import Name
from dnsd.wire.query import HEADER

log = logging.getLogger("dnsd.plugin.transfer")

Target: TypeAlias = tuple[str, int]
"""Address and port."""

ATTEMPTS = 3
"""Datagrams for one change: as in the reference. A secondary that was not reached asks by itself, at `refresh`."""
ANSWER_SECONDS = 2.0
"""That one of them is waited for."""


class Notifier:
    """Tells targets about zones; at most one task a zone and target, so what the Corefile lists is the bound."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[Name, Target], asyncio.Task[None]] = {}

    def tell(self, zone: Name, target: Target) -> None:
        """Begin to tell a target that a zone changed; what it is still being told about the zone is left."""
        key = (zone, target)
        earlier = self._tasks.pop(key, None)
        if earlier is not None:
            earlier.cancel()
        task = asyncio.create_task(_tell(zone, target))
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._tasks.pop(key) if self._tasks.get(key) is done else None)

    async def stop(self) -> None:
        """Stop telling."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Exchange(asyncio.DatagramProtocol):
    """One message, and the rcode of the answer to it."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self.rcode: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002  asyncio's signature
        """Take the answer; anything else that arrives is passed over."""
        if len(data) < HEADER or data[:2] != self._message[:2] or self.rcode.done():
            return
        (flags,) = struct.unpack_from("!H", data, 2)
        if flags & codes.QR and flags >> 11 & 0xF == Opcode.NOTIFY:
            self.rcode.set_result(flags & 0xF)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there at present; the wait goes on, for the next attempt is not to come at once."""


def message(zone: Name, id_: int) -> bytes:
    """A NOTIFY for a zone (RFC 1996 section 3.7)."""
    flags = Opcode.NOTIFY << 11 | codes.AA
    return struct.pack("!6H", id_, flags, 1, 0, 0, 0) + names.to_wire(zone) + struct.pack("!2H", Type.SOA, Class.IN)


async def _tell(zone: Name, target: Target) -> None:
    told = names.to_text(zone)
    try:
        for _ in range(ATTEMPTS):
            rcode = await _attempt(zone, target)
            if rcode is None:
                continue
            if rcode == Rcode.NOERROR:
                log.info("%s port %d knows that %s changed", *target, told)
            else:
                log.warning("%s port %d answered %s to NOTIFY of %s", *target, codes.rcode_text(rcode), told)
            return
        log.warning("%s port %d did not answer to NOTIFY of %s", *target, told)
    except OSError as error:
        log.warning("cannot send NOTIFY of %s to %s port %d: %s", told, *target, error)


async def _attempt(zone: Name, target: Target) -> int | None:
    """Send one datagram; the rcode of the answer to it, or None where none came in time."""
    data = message(zone, secrets.randbits(16))
    loop = asyncio.get_running_loop()
    transport, exchange = await loop.create_datagram_endpoint(lambda: _Exchange(data), remote_addr=target)
    try:
        transport.sendto(data)
        return await asyncio.wait_for(exchange.rcode, ANSWER_SECONDS)
    except TimeoutError:
        return None
    finally:
        transport.close()
