"""`dnsd check`: one line that says where and what, and an exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process import run

MISTAKES: dict[str, tuple[str, str, str]] = {
    # what is wrong, the Corefile, LINE:COLUMN, a word of the message
    "an unknown directive": (". {\n    bogus\n}\n", "2:5", "bogus"),
    "a directive that is nearly one": (". {\n    kubernets cluster.local\n}\n", "2:5", "kubernetes"),
    "an unknown option": (". {\n    kubernetes cluster.local {\n        bogus\n    }\n}\n", "3:9", "bogus"),
    "a value out of range": (". {\n    kubernetes cluster.local {\n        ttl 3601\n    }\n}\n", "3:13", "3600"),
    "a value that is no number": (". {\n    kubernetes cluster.local {\n        ttl soon\n    }\n}\n", "3:13", "soon"),
    "a mode that is none": (". {\n    kubernetes cluster.local {\n        pods all\n    }\n}\n", "3:14", "all"),
    "an option without its argument": (". {\n    kubernetes cluster.local {\n        ttl\n    }\n}\n", "3:9", "ttl"),
    "a second stanza": (". {\n    kubernetes a.local\n    kubernetes b.local\n}\n", "3:5", "once"),
    "reverse zones only": (". {\n    kubernetes in-addr.arpa\n}\n", "2:5", "reverse"),
    "options that exclude each other": (
        ". {\n    kubernetes c.local {\n        namespaces a\n        namespace_labels a=b\n    }\n}\n",
        "4:9",
        "exclude",
    ),
    "zonal names without endpoints": (
        ". {\n    kubernetes c.local {\n        zonal\n        noendpoints\n    }\n}\n",
        "4:9",
        "exclude",
    ),
    "tls without endpoint": (". {\n    kubernetes c.local {\n        tls a b c\n    }\n}\n", "3:9", "endpoint"),
    "a bad selector": (". {\n    kubernetes c.local {\n        labels a==b==c\n    }\n}\n", "3:16", "selector"),
    "a block that is never closed": (". {\n    whoami\n", "", "}"),
    "a zone that is served twice": ("a.test {\n    whoami\n}\na.test {\n    whoami\n}\n", "4:1", "already"),
    "an address that is none": (". {\n    bind 10.0.0.999\n    whoami\n}\n", "2:10", "10.0.0.999"),
    "a scheme that has no listener": ("grpc://. {\n    whoami\n}\n", "1:1", "grpc"),
}


@pytest.mark.parametrize(("text", "place", "word"), MISTAKES.values(), ids=MISTAKES)
def test_says_where_and_what(text: str, place: str, word: str, tmp_path: Path) -> None:
    path = tmp_path / "Corefile"
    path.write_text(text)
    done = run("check", str(path))
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{path}:{place}")
    assert word in line


def test_serving_refuses_what_check_refuses(tmp_path: Path) -> None:
    (tmp_path / "Corefile").write_text(". {\n    bogus\n}\n")
    done = run("serve", "--conf", str(tmp_path / "Corefile"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{tmp_path / 'Corefile'}:2:5: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = run("check", str(tmp_path / "nothing"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(tmp_path / "nothing") in line


def test_a_good_file_lists_its_zones(tmp_path: Path) -> None:
    path = tmp_path / "Corefile"
    path.write_text("a.test:1053 10.0.0.0/8 {\n    whoami\n}\n. {\n    whoami\n}\n")
    done = run("check", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["a.test.:1053", "10.in-addr.arpa.:53", ".:53", f"{path}: ok"]


def test_checking_opens_nothing(tmp_path: Path) -> None:
    """Neither sockets nor the cluster: a manifest that is missing is found out when it is served."""
    path = tmp_path / "Corefile"
    path.write_text(".:1 {\n    kubernetes cluster.local {\n        manifests nothing.yaml\n    }\n}\n")
    assert run("check", str(path)).returncode == 0
