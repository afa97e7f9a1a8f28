"""The directive `cache`: what it says, as values, and errors that say where and what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from dnsd.corefile.syntax import CorefileError
from dnsd.plugins.cache.settings import MIN_CAPACITY, Mode, Prefetch, Settings, Stale, Store
from tests.plugins.cache.bench import Bench


def settings(text: str) -> Settings:
    return Bench(text).cache.settings


def test_the_defaults() -> None:
    assert settings("") == Settings(
        ((),), Store(9984, 3600, 5), Store(9984, 1800, 5), servfail=5.0, keep_ttl=False, prefetch=None, stale=None
    )


SETTINGS: dict[str, dict[str, Any]] = {
    "30": {"success": Store(max_ttl=30), "denial": Store(max_ttl=30)},
    "Example.com 10.0.0.0/8": {"zones": ((b"example", b"com"), (b"10", b"in-addr", b"arpa"))},
    "30 example.com": {
        "zones": ((b"example", b"com"),), "success": Store(max_ttl=30), "denial": Store(max_ttl=30),
    },
    "{ success 10000 }": {"success": Store(9984)},
    "{ success 1 }": {"success": Store(MIN_CAPACITY)},
    "{ success 5000 100 }": {"success": Store(4864, 100)},
    "{ denial 5000 100 7 }": {"denial": Store(4864, 100, 7)},
    "30 { denial 5000 100 }": {"success": Store(max_ttl=30), "denial": Store(4864, 100)},
    "{ prefetch 10 }": {"prefetch": Prefetch(10, 60.0, 10)},
    "{ prefetch 10 2m }": {"prefetch": Prefetch(10, 120.0, 10)},
    "{ prefetch 10 2m 90% }": {"prefetch": Prefetch(10, 120.0, 90)},
    "{ prefetch 0 }": {},
    "{ serve_stale }": {"stale": Stale()},
    "{ serve_stale 2h }": {"stale": Stale(7200.0)},
    "{ serve_stale 2h immediate 30s 5s }": {"stale": Stale(7200.0, ttl=30, recheck=5.0)},
    "{ serve_stale 2h verify }": {"stale": Stale(7200.0, Mode.VERIFY, 1.8)},
    "{ serve_stale 2h verify 0s }": {"stale": Stale(7200.0, Mode.VERIFY, 1.8)},
    "{ serve_stale 2h verify 100ms }": {"stale": Stale(7200.0, Mode.VERIFY, 0.1)},
    "{ serve_stale 2h verify 100ms 30s 5m }": {"stale": Stale(7200.0, Mode.VERIFY, 0.1, 30, 300.0)},
    "{ serve_stale_policy prefer_positive; serve_stale }": {"stale": Stale(prefer_positive=True)},
    "{ servfail 0 }": {"servfail": 0.0},
    "{ servfail 5m }": {"servfail": 300.0},
    "{ disable success }": {"success": Store(disabled=((),))},
    "{ disable denial a b; disable denial c }": {"denial": Store(max_ttl=1800, disabled=((b"a",), (b"b",), (b"c",)))},
    "{ keepttl }": {"keep_ttl": True},
}  # fmt: skip


@pytest.mark.parametrize(("text", "values"), SETTINGS.items(), ids=SETTINGS)
def test_a_setting(text: str, values: dict[str, Any]) -> None:
    assert settings(text) == Settings(**{"zones": ((),), **values})


WRONG = {
    "0": "a whole number, 1 or more",
    "-5": "a whole number, 1 or more",
    "30 a..b": "empty label",
    "{ success }": "at least 1 argument",
    "{ success many }": "a whole number",
    "{ success 10 0 }": "a whole number, 1 or more",
    "{ success 10 10 -1 }": "a whole number, 0 or more",
    "{ denial 10 10 10 10 }": "is too much",
    "{ prefetch }": "at least 1 argument",
    "{ prefetch 1 1m 10 }": "not a percentage",
    "{ prefetch 1 1m 9% }": "from 10 to 90",
    "{ prefetch 1 1m 91% }": "from 10 to 90",
    "{ serve_stale 0s }": "more than 0 seconds",
    "{ serve_stale 1h later }": "one of immediate, verify",
    "{ serve_stale 1h immediate 30s 30s 30s }": "is too much",
    "{ serve_stale 1h immediate 30s 6m }": "at most 300s",
    "{ serve_stale_policy prefer_positive }": "goes with 'serve_stale'",
    "{ serve_stale; serve_stale_policy best }": "only 'prefer_positive' is",
    "{ servfail 6m }": "at most 300s",
    "{ disable }": "at least 1 argument",
    "{ disable everything }": "one of success, denial",
    "{ keepttl 5 }": "takes no arguments",
    "{ keep_ttl }": "did you mean 'keepttl'?",
    "\ncache": "can be used once",
}


@pytest.mark.parametrize(("text", "complaint"), WRONG.items(), ids=WRONG)
def test_an_error(text: str, complaint: str) -> None:
    with pytest.raises(CorefileError) as caught:
        settings(text)
    assert complaint in str(caught.value)
