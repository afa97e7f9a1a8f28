"""Asks over plain HTTP, as a probe or a scrape does."""

from __future__ import annotations

import http.client

from tests.process import DEADLINE


def get(host: str, port: int, path: str) -> tuple[int, str]:
    """Status and body."""
    connection = http.client.HTTPConnection(host, port, timeout=DEADLINE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
