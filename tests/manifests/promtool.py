"""Finds promtool, Prometheus's own checker of rules."""

from __future__ import annotations

import shutil

import pytest


def promtool() -> str:
    """The path; skips the test where there is none."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool (Debian: prometheus) is not on PATH: Prometheus cannot be asked")
    return found
