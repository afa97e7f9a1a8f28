"""What the kernel says about this process, under the names that Prometheus clients of every language use."""

from __future__ import annotations

import resource
from pathlib import Path

from prometheus_client.process_collector import ProcessCollector

from dnsd.observe.families import Snapshot, counter, from_metric, gauge

NETSTAT = Path("/proc/self/net/netstat")
ADDING = frozenset({"process_open_fds", "process_resident_memory_bytes", "process_virtual_memory_bytes"})
"""Gauges that are summed over processes; the others are the same for each, or of no use as a sum."""
UNLIMITED = 2.0**64
"""What Go's client reports for an address space without a limit."""

_collector = ProcessCollector(registry=None)


def snapshot() -> Snapshot:
    """The `process_*` families; those that the platform has no numbers for are not there."""
    families = [from_metric(metric, gauges_add=metric.name in ADDING) for metric in _collector.collect()]
    limit = gauge("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.")
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    limit.add(UNLIMITED if soft == resource.RLIM_INFINITY else soft)
    families.append(limit)
    octets = _network_octets()
    if octets is not None:
        for name, help_, value in zip(
            ("process_network_receive_bytes_total", "process_network_transmit_bytes_total"),
            ("Octets that this network namespace received.", "Octets that this network namespace sent."),
            octets,
            strict=True,
        ):
            family = counter(name, help_)
            family.adds = False  # processes of one pod share their network, and all see the same number
            family.add(value)
            families.append(family)
    return families


def _network_octets() -> tuple[int, int] | None:
    """Octets received and sent (IpExt of /proc/net/netstat), or None where the kernel does not say."""
    try:
        rows = [line.split() for line in NETSTAT.read_text(encoding="ascii").splitlines() if line.startswith("IpExt:")]
        numbers = dict(zip(rows[0], rows[1], strict=True))
        return int(numbers["InOctets"]), int(numbers["OutOctets"])
    except (OSError, ValueError, LookupError):
        return None
