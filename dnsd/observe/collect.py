"""What a process that answers queries has counted: its listeners, its plugins, itself. Keeps nothing.

One snapshot a process; `metrics` adds up those of all, with what is not of a single one.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence

from dnsd.observe import process
from dnsd.observe.families import Family, Snapshot, counter, from_metric, gauge, histogram
from dnsd.resolve.histogram import Histogram
from dnsd.serve.face import UNCOUNTED, Face
from dnsd.serve.instance import Instance
from dnsd.serve.server import Server
from dnsd.wire.codes import rcode_text, type_text

ADDING_GAUGES = frozenset({"coredns_cache_entries"})
"""Gauges of plugins that are summed over server blocks and processes; of the others the greatest value counts."""
SO_MEMINFO = 55
"""Linux: nine 32-bit numbers about a socket's memory; the last is how many datagrams did not fit (sock_diag(7))."""
_DROPS = 8


def collect(server: Server, instance: Instance) -> Snapshot:
    """Everything that this process has to tell."""
    return [*of_server(server), *of_instance(instance), *process.snapshot()]


# -- queries


def of_server(server: Server) -> Snapshot:
    """What the listeners counted, under the reference's names, and what only dnsd has."""
    faces = [face for listener in server.listeners.values() for face in listener.faces]
    return [*of_faces(faces), *_of_memos(faces), *_of_sockets(server)]


def of_faces(faces: Sequence[Face]) -> Snapshot:
    """Queries and replies (spec.md section 7.1)."""
    requests = counter("coredns_dns_requests_total", "Queries, by protocol, address family and type.")
    dnssec = counter("coredns_dns_do_requests_total", "Queries with the DO bit.")
    responses = counter("coredns_dns_responses_total", "Replies, by rcode and the plugin that wrote them.")
    seconds: _Histograms = {}
    request_octets: _Histograms = {}
    response_octets: _Histograms = {}
    for face in faces:
        face.memo.settle()
        server, proto = face.server, face.protocol
        for labels, series in face.tally.series.items():
            zone = labels.zone
            if zone == UNCOUNTED:
                continue
            requests.add(
                series.count,
                server=server,
                zone=zone,
                view="",
                proto=proto,
                family=_family(face),
                type=type_text(labels.type) if labels.type else "other",
            )
            if labels.do:
                dnssec.add(series.count, server=server, zone=zone, view="")
            rcode = rcode_text(labels.rcode)
            responses.add(series.count, server=server, zone=zone, view="", rcode=rcode, plugin=labels.plugin)
            _sum(seconds, (server, zone, ""), series.seconds)
            _sum(request_octets, (server, zone, proto), series.request_octets)
            _sum(response_octets, (server, zone, proto), series.response_octets)
    durations = histogram("coredns_dns_request_duration_seconds", "Seconds until a query was answered.")
    for (server, zone, _), total in seconds.items():
        durations.observe(total, server=server, zone=zone, view="")
    sizes = []
    for name, help_, totals in (
        ("coredns_dns_request_size_bytes", "Octets of queries.", request_octets),
        ("coredns_dns_response_size_bytes", "Octets of replies before compression and truncation.", response_octets),
    ):
        family = histogram(name, help_)
        for (server, zone, proto), total in totals.items():
            family.observe(total, server=server, zone=zone, view="", proto=proto)
        sizes.append(family)
    return [requests, dnssec, responses, durations, *sizes, *_cache_hits(faces)]


def _cache_hits(faces: Iterable[Face]) -> Snapshot:
    """Hits of `cache` that it did not see, because the memo gave its answer again."""
    requests = counter("coredns_cache_requests_total", "Queries.")
    hits = counter("coredns_cache_hits_total", "Queries answered from what is kept.")
    for face in faces:
        for labels, series in face.tally.series.items():
            zones = _cache_zones(face, labels.zone) if labels.cached else None
            if zones is not None:
                requests.add(series.count, server=face.server, zones=zones, view="")
                hits.add(series.count, server=face.server, type=labels.cached, zones=zones, view="")
    return [requests, hits]


def _cache_zones(face: Face, zone: str) -> str | None:
    """The label `zones` of the `cache` that keeps answers for a zone, or None where there is none any more."""
    blocks = [block for block in face.front.blocks.values() if zone in (block.zone_text, UNCOUNTED)]
    caches = (plugin for block in blocks for plugin in block.plugins if plugin.name == "cache")
    samples = (sample for cache in caches for metric in cache.metrics() for sample in metric.samples)
    return next((sample.labels["zones"] for sample in samples), None)


_Histograms = dict[tuple[str, str, str], Histogram]


def _sum(totals: _Histograms, key: tuple[str, str, str], more: Histogram) -> None:
    total = totals.get(key)
    if total is None:
        total = totals[key] = Histogram(more.bounds)
    total.buckets = [old + new for old, new in zip(total.buckets, more.buckets, strict=True)]
    total.sum += more.sum


def _family(face: Face) -> str:
    return "1" if face.family == 4 else "2"


def _of_memos(faces: Iterable[Face]) -> Snapshot:
    entries = gauge("dnsd_memo_entries", "Ready answers.", adds=True)
    octets = gauge("dnsd_memo_bytes", "Octets that ready answers take.", adds=True)
    for face in faces:
        labels = {"server": face.server, "proto": face.protocol, "family": _family(face)}
        entries.add(len(face.memo), **labels)
        octets.add(face.memo.octets, **labels)
    return [entries, octets]


def _of_sockets(server: Server) -> Snapshot:
    shed = counter("dnsd_udp_shed_total", "Queries answered with SERVFAIL because too many were under way.")
    unsent = counter("dnsd_udp_unsent_total", "Replies that the kernel did not take.")
    drops = counter("dnsd_udp_receive_drops_total", "Queries that did not fit into the socket's receive buffer.")
    connections = gauge("dnsd_tcp_connections", "Open connections of clients.", adds=True)
    for address, listener in server.listeners.items():
        for sock, udp in listener.udp:
            labels = {"server": str(address), "family": "1" if sock.family == socket.AF_INET else "2"}
            shed.add(udp.losses.shed, **labels)
            unsent.add(udp.losses.unsent, **labels)
            dropped = receive_drops(sock)
            if dropped is not None:
                drops.add(dropped, **labels)
        connections.add(len(listener.connections), server=str(address))
    return [shed, unsent, drops, connections]


def receive_drops(sock: socket.socket) -> int | None:
    """Datagrams that the kernel dropped for lack of room since the socket was opened; None where it does not say."""
    try:
        numbers = struct.unpack("9I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))
    except (OSError, struct.error):
        return None
    return int(numbers[_DROPS])


# -- plugins


def of_instance(instance: Instance) -> Snapshot:
    """What the plugins of a configuration count, and which there are."""
    panics = counter("coredns_panics_total", "Queries that a plugin failed on in a way that nobody foresaw.")
    panics.add(sum(front.panics for front in instance.fronts.values()))
    enabled = gauge("coredns_plugin_enabled", "Plugins of the server blocks that are counted.")
    for address, front in instance.fronts.items():
        for block in front.blocks.values():
            for plugin in block.plugins if block.counted else ():
                enabled.add(1, server=str(address), zone=block.zone_text, view="", name=plugin.name)
    return [panics, enabled, *_of_plugins(instance)]


def _of_plugins(instance: Instance) -> list[Family]:
    return [
        from_metric(metric, gauges_add=metric.name in ADDING_GAUGES)
        for plugin in instance.plugins
        for metric in plugin.metrics()
    ]
