"""The Containerfile: what goes into the image, who runs it and how it is started."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest

from tests.manifests.kustomize import ROOT, render
from tests.manifests.workloads import Workload


@pytest.fixture(scope="module")
def stages() -> list[list[tuple[str, str]]]:
    """Instruction and arguments, for each stage; what stands before the first FROM is left out."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Containerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    found: list[list[tuple[str, str]]] = []
    for line in filter(None, lines):
        instruction, _, arguments = line.partition(" ")
        if instruction == "FROM":
            found.append([])
        if found:
            found[-1].append((instruction, arguments))
    return found


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_image_is_built_in_two_stages_of_one_base(stages: list[list[tuple[str, str]]]) -> None:
    build, final = stages
    assert (build[0], final[0]) == (("FROM", "${BASE} AS build"), ("FROM", "${BASE}"))
    assert [arguments for instruction, arguments in final if instruction == "COPY"] == [
        "--from=build /opt/dnsd /opt/dnsd"
    ]


def test_the_base_is_a_python_that_dnsd_runs_on(project: dict[str, Any]) -> None:
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    found = re.search(r"^ARG BASE=docker\.io/library/python:(\d+)\.(\d+)-slim-\w+$", text, re.MULTILINE)
    lowest = re.fullmatch(r">=(\d+)\.(\d+)", project["project"]["requires-python"])
    assert found is not None
    assert lowest is not None
    assert tuple(map(int, found.groups())) >= tuple(map(int, lowest.groups()))


def test_what_is_copied_exists_and_is_let_through(stages: list[list[tuple[str, str]]]) -> None:
    let_through = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = {word for name, words in stages[0] if name == "COPY" for word in words.split()[:-1]}
    assert copied == let_through
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_wheel_finds_all_that_it_is_made_of(stages: list[list[tuple[str, str]]], project: dict[str, Any]) -> None:
    copied = {word for name, words in stages[0] if name == "COPY" for word in words.split()[:-1]}
    needed = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml"}
    assert needed | set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= copied


def test_every_dependency_is_locked(stages: list[list[tuple[str, str]]], project: dict[str, Any]) -> None:
    (install,) = (words for name, words in stages[0] if name == "RUN")
    assert "--constraint requirements.lock" in install
    locked = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
        if re.fullmatch(r"[\w.-]+==[\w.]+", line)
    }
    names = {re.split(r"[<>=; \[]", line)[0].lower().replace("_", "-") for line in project["project"]["dependencies"]}
    assert names <= locked


def test_dnsd_is_what_starts_and_takes_the_arguments_of_coredns(
    stages: list[list[tuple[str, str]]], project: dict[str, Any]
) -> None:
    last = dict(stages[-1])
    (command,) = json.loads(last["ENTRYPOINT"])
    assert command in project["project"]["scripts"]
    assert last["ENV"] == "PATH=/opt/dnsd/bin:$PATH"
    assert "CMD" not in last
    assert last["WORKDIR"] == "/"


def test_the_user_is_the_one_of_the_manifests(stages: list[list[tuple[str, str]]]) -> None:
    user, group = dict(stages[-1])["USER"].split(":")
    context = Workload(render("base"), "Deployment", "dnsd").pod["securityContext"]
    assert (int(user), int(group)) == (context["runAsUser"], context["runAsGroup"]) == (65532, 65532)


def test_the_interpreter_of_dnsd_alone_may_bind_port_53(stages: list[list[tuple[str, str]]]) -> None:
    build, final = ({words for name, words in stage if name == "RUN"}.pop() for stage in stages)
    (capability, interpreter) = re.findall(r"setcap (\S+) (\S+)", final)[0]
    assert capability == "cap_net_bind_service=+ep"
    assert f"pip --python {interpreter} install" in build, "the interpreter in the first line of the script"
    assert "--copies" in build, "a link would give the capability to the interpreter of the base"


def test_the_ports_are_those_of_the_manifests(stages: list[list[tuple[str, str]]]) -> None:
    ports = {
        (int(number), protocol.upper()) for number, protocol in re.findall(r"(\d+)/(\w+)", dict(stages[-1])["EXPOSE"])
    }
    assert ports == Workload(render("base"), "Deployment", "dnsd").ports
