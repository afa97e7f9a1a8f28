"""What `make install` leaves in the environment: the sources that are here, some of their modules compiled."""

from __future__ import annotations

import re
import shutil
import sysconfig
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest

from tests import process

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path.relative_to(ROOT)
    for path in (ROOT / "dnsd").rglob("*")
    if path.is_file() and path.suffix not in {".pyc", ".so"}
)


def test_tests_of_processes_run_the_sources_that_are_here() -> None:
    installed = distribution("dnsd")
    old = [
        str(path)
        for path in SOURCES
        if not Path(str(installed.locate_file(path))).is_file()
        or Path(str(installed.locate_file(path))).read_bytes() != (ROOT / path).read_bytes()
    ]
    assert old == [], "run `make install`"


def test_modules_are_compiled_where_there_is_a_c_compiler() -> None:
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if shutil.which("cc") is None or not headers.exists():
        pytest.skip("no C compiler, or no headers of Python")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]["include"]
    files = {str(file) for file in distribution("dnsd").files or ()}
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert [path for path in wanted if path.removesuffix(".py") + suffix not in files] == []
    assert re.search(r", compiled$", process.run("-version").stdout, re.MULTILINE)
