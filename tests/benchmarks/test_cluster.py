"""The generated cluster: manifests and zone files hold the same, and every question has the answer it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dns.name
import dns.rdatatype
import dns.zone
import msgspec
import pytest

from benchmarks import manifests, questions, zones
from benchmarks.cluster import Cluster, endpoint_label, generate

CLUSTER = generate(services=240, endpoints_per_service=4)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    path = tmp_path_factory.mktemp("manifests") / "cluster.json"
    manifests.write(CLUSTER, path)
    document = msgspec.json.decode(path.read_bytes())
    assert document["kind"] == "List"
    kinds: dict[str, list[Any]] = {}
    for item in document["items"]:
        kinds.setdefault(item["kind"], []).append(item)
    return kinds


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], set[str]]:
    """What dnspython reads in the zone files: owner and type to data."""
    found: dict[tuple[str, str], set[str]] = {}
    for origin, zone in zones.build(CLUSTER).items():
        path = tmp_path_factory.mktemp("zones") / "zone"
        zone.write(path)
        for name, rdataset in dns.zone.from_file(str(path), origin, relativize=False).iterate_rdatasets():
            rtype = dns.rdatatype.to_text(rdataset.rdtype)
            found[name.to_text(), rtype] = {rdata.to_text() for rdata in rdataset}
    return found


def _owner(item: Any) -> str:
    name = item["metadata"].get("labels", {}).get("kubernetes.io/service-name", item["metadata"]["name"])
    return f"{name}.{item['metadata']['namespace']}.svc.cluster.local."


def _addresses(endpoint_slice: Any) -> list[str]:
    return [address for endpoint in endpoint_slice["endpoints"] for address in endpoint["addresses"]]


def test_the_cluster_has_the_size_it_was_asked_for(objects: dict[str, list[Any]]) -> None:
    assert len(objects["Service"]) == len(objects["EndpointSlice"]) == 240
    assert sum(len(_addresses(item)) for item in objects["EndpointSlice"]) == 960
    assert {item["metadata"]["name"] for item in objects["Namespace"]} == set(CLUSTER.namespaces)


def test_no_name_address_or_uid_is_given_twice(objects: dict[str, list[Any]]) -> None:
    everything = [item for kind in objects.values() for item in kind]
    cluster_ips = [item["spec"]["clusterIP"] for item in objects["Service"] if item["spec"]["clusterIP"] != "None"]
    pods = [address for item in objects["EndpointSlice"] for address in _addresses(item)]
    for values in (
        [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in everything],
        [item["metadata"]["uid"] for item in everything],
        cluster_ips + pods,
    ):
        assert len(values) == len(set(values))


def test_services_in_the_manifests_answer_the_same_in_the_zone(
    objects: dict[str, list[Any]], served: dict[tuple[str, str], set[str]]
) -> None:
    slices = {_owner(item): item for item in objects["EndpointSlice"]}
    headless = 0
    for service in objects["Service"]:
        owner = _owner(service)
        if service["spec"]["clusterIP"] == "None":
            headless += 1
            addresses = _addresses(slices[owner])
            assert served[owner, "A"] == set(addresses)
            for port in slices[owner]["ports"]:
                targets = {f"0 25 {port['port']} {endpoint_label(address)}.{owner}" for address in addresses}
                assert served[f"_{port['name']}._tcp.{owner}", "SRV"] == targets
        else:
            assert served[owner, "A"] == {service["spec"]["clusterIP"]}
            assert served[zones.reverse_name(service["spec"]["clusterIP"]), "PTR"] == {owner}
            for port in service["spec"]["ports"]:
                assert served[f"_{port['name']}._tcp.{owner}", "SRV"] == {f"0 100 {port['port']} {owner}"}
    assert headless == 12


def test_endpoints_in_the_manifests_answer_the_same_in_the_zone(
    objects: dict[str, list[Any]], served: dict[tuple[str, str], set[str]]
) -> None:
    for item in objects["EndpointSlice"]:
        for address in _addresses(item):
            endpoint = f"{endpoint_label(address)}.{_owner(item)}"
            assert served[endpoint, "A"] == {address}
            assert served[zones.reverse_name(address), "PTR"] == {endpoint}


def test_the_oracle_reads_a_zone_as_dnspython_does(served: dict[tuple[str, str], set[str]]) -> None:
    oracle = zones.Oracle(zones.build(CLUSTER))
    existing = set()
    for owner, _ in served:
        name = dns.name.from_text(owner)
        while name not in existing and name != dns.name.root:
            existing.add(name)
            name = name.parent()
    asked = {*questions.hot(CLUSTER), *questions.mix(CLUSTER, 2_000), *questions.never_repeating(CLUSTER, 0, 2_000)}
    asked |= {("svc.cluster.local.", "A"), ("cluster.local.", "AAAA"), ("131.128.10.in-addr.arpa.", "PTR")}
    for owner, rtype in asked:
        rcode = "NOERROR" if dns.name.from_text(owner) in existing else "NXDOMAIN"
        assert oracle.answer(owner, rtype) == zones.Expected(rcode, frozenset(served.get((owner, rtype), ())))


def test_the_upstream_has_its_hosts_and_a_wildcard() -> None:
    zone = zones.build_upstream(10)
    oracle = zones.Oracle({zone.origin: zone})
    once = list(questions.forwarded_once(0, 5))
    assert len(set(once)) == 5
    assert all(oracle.answer(*question).data for question in [*questions.forwarded(10), *once])
    assert oracle.answer("absent.bench.example.", "A").rcode == "NXDOMAIN"


def test_the_mix_has_every_kind_of_question_and_of_answer() -> None:
    oracle = zones.Oracle(zones.build(CLUSTER))
    mix = questions.mix(CLUSTER, 2_000)
    answers = [(rtype, oracle.answer(name, rtype)) for name, rtype in mix]
    assert {rtype for rtype, _ in answers} == {"A", "AAAA", "SRV"}
    assert all(answer.data for rtype, answer in answers if rtype == "SRV")
    assert any(answer.rcode == "NOERROR" and not answer.data for _, answer in answers)
    assert any(answer.rcode == "NXDOMAIN" for _, answer in answers)
    assert any(name.endswith(".pod.cluster.local.") for name, _ in mix)


@pytest.mark.parametrize("start", [0, 100])
def test_names_that_must_not_repeat_do_not(start: int) -> None:
    asked = list(questions.never_repeating(CLUSTER, start, 4 * 960 - start))
    assert len(asked) == len(set(asked)) == 4 * 960 - start
    assert not set(questions.never_repeating(CLUSTER, 0, start)) & set(asked)


def test_flooding_names_never_repeat_and_never_exist() -> None:
    oracle = zones.Oracle(zones.build(CLUSTER))
    flood = list(questions.random_names(CLUSTER, 5_000))
    assert len(set(flood)) == 5_000
    assert {oracle.answer(*question).rcode for question in flood} == {"NXDOMAIN"}


def test_two_runs_ask_about_the_same_cluster(tmp_path: Path) -> None:
    def written(cluster: Cluster, name: str) -> bytes:
        manifests.write(cluster, tmp_path / name)
        return (tmp_path / name).read_bytes()

    assert written(generate(50, 2), "one") == written(generate(50, 2), "two")
    assert questions.mix(generate(50, 2), 100) == questions.mix(generate(50, 2), 100)
