"""`debug`: more log lines while a configuration with it is at work."""

from __future__ import annotations

import asyncio
import logging

from tests.plugins.asking import plugin


def level() -> int:
    return logging.getLogger("dnsd").level


def test_the_log_says_more_from_start_to_stop() -> None:
    usual = level()
    subject = plugin("debug")
    assert level() == usual
    asyncio.run(subject.start())
    assert level() == logging.DEBUG
    asyncio.run(subject.stop())
    assert level() == usual


def test_a_reload_starts_the_new_one_before_it_stops_the_old_one() -> None:
    usual = level()
    old, new = plugin("debug"), plugin("debug")
    asyncio.run(old.start())
    asyncio.run(new.start())
    asyncio.run(old.stop())
    assert level() == logging.DEBUG
    asyncio.run(new.stop())
    assert level() == usual
