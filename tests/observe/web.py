"""Asks HTTP endpoints, and reads /metrics with the parser of prometheus_client: an oracle that did not write it."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.process import DEADLINE

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class Got:
    """A response."""

    status: int
    body: bytes
    header: Mapping[str, str]


def get(port: int, path: str, *, method: str = "GET", host: str = "127.0.0.1") -> Got:
    """Ask for a page; OSError where nobody listens."""
    connection = http.client.HTTPConnection(host, port, timeout=DEADLINE)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return Got(response.status, response.read(), {name.lower(): value for name, value in response.getheaders()})
    finally:
        connection.close()


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody takes connections there."""
    try:
        get(port, "/", host=host)
    except OSError:
        return False
    return True


def scrape(port: int) -> Series:
    """Every sample of /metrics."""
    return series(get(port, "/metrics").body.decode())


def series(text: str) -> Series:
    """Every sample of a text, by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(found: Series, name: str, **labels: str) -> float:
    """The sum of the samples of a name that have these labels."""
    return sum(value for (sample, own), value in found.items() if sample == name and labels.items() <= own)
