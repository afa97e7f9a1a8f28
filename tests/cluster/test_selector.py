"""Label selectors, as `kubectl -l` takes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnsd.cluster.selector import BadSelector, parse
from tests.cluster.apiobjects import label_selector

LABELS = {"app": "web", "tier": "front", "example.com/owner": "a-b.c_d", "empty": ""}

TABLE = [
    # selector, whether it takes LABELS
    ("", True),
    (" ", True),
    ("app=web", True),
    ("app==web", True),
    ("app = web", True),
    ("app=db", False),
    ("app!=db", True),
    ("app!=web", False),
    ("missing!=web", True),
    ("missing=web", False),
    ("app in (web, db)", True),
    ("app in (db)", False),
    ("app notin (db)", True),
    ("app notin (web,db)", False),
    ("missing notin (web)", True),
    ("missing in (web)", False),
    ("app", True),
    ("missing", False),
    ("!app", False),
    ("!missing", True),
    ("! missing", True),
    ("app=web,tier=front", True),
    ("app=web,tier=back", False),
    ("app in (web,db),!missing,tier!=back", True),
    ("example.com/owner=a-b.c_d", True),
    ("empty=", True),
    ("empty", True),
    ("in=x", False),
]


@pytest.mark.parametrize(("text", "takes"), TABLE)
def test_selector(text: str, takes: bool) -> None:
    assert parse(text)(LABELS) is takes


BAD = [
    "app==web==db",
    "app in web",
    "app in (web",
    "=web",
    "a b",
    "app=web tier=front",
    "app>1",
    "-a=b",
    "app=-",
    "(",
    "a,=b",
]


@pytest.mark.parametrize("text", BAD)
def test_is_no_selector(text: str) -> None:
    with pytest.raises(BadSelector, match="not a label selector"):
        parse(text)


keys = st.sampled_from(["app", "tier", "x"])
values = st.sampled_from(["web", "db", "a"])
requirements = st.one_of(
    st.builds("{}={}".format, keys, values),
    st.builds("{}!={}".format, keys, values),
    st.builds("{} in ({},{})".format, keys, values, values),
    st.builds("{} notin ({})".format, keys, values),
    keys,
    keys.map("!{}".format),
)


@given(st.lists(requirements, max_size=4), st.dictionaries(keys, values))
def test_manifests_are_chosen_as_the_api_server_of_the_tests_chooses(parts: list[str], labels: dict[str, str]) -> None:
    text = ",".join(parts)
    assert parse(text)(labels) == label_selector(text)({"metadata": {"labels": labels}})
