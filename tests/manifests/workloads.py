"""Reads what a rendered Deployment or DaemonSet says about its one dnsd container; knows no file of manifests/."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dnsd.cluster.api.watch import RESOURCES
from dnsd.plugins.kubernetes import Kubernetes
from dnsd.resolve.plugin import ServerOptions
from dnsd.serve.instance import Instance
from tests.manifests.kustomize import Object, of_kind
from tests.plugins.harness import build


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or DaemonSet with the objects around it."""

    objects: tuple[Object, ...]
    kind: str
    name: str

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = of_kind(self.objects, self.kind, self.name)["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        labels: dict[str, str] = self.spec["template"]["metadata"]["labels"]
        return labels

    @property
    def pod(self) -> dict[str, Any]:
        pod: dict[str, Any] = self.spec["template"]["spec"]
        return pod

    @property
    def container(self) -> dict[str, Any]:
        container: dict[str, Any]
        (container,) = self.pod["containers"]
        return container

    @property
    def ports(self) -> set[tuple[int, str]]:
        """Number and protocol of every container port."""
        return {(port["containerPort"], port["protocol"]) for port in self.container["ports"]}

    def port(self, name_or_number: str | int) -> int:
        """The number behind a port's name, which must exist."""
        numbers = {name_or_number} if isinstance(name_or_number, int) else set()
        numbers |= {port["containerPort"] for port in self.container["ports"] if port["name"] == name_or_number}
        (number,) = numbers
        assert isinstance(number, int)
        return number

    @property
    def corefile(self) -> str:
        """The text that dnsd reads: through `-conf`, the mount, the volume and the ConfigMap."""
        flag, path = self.container["args"]
        assert flag == "-conf"
        directory, _, file = path.rpartition("/")
        (mount,) = (mount for mount in self.container["volumeMounts"] if mount["mountPath"] == directory)
        (volume,) = (volume for volume in self.pod["volumes"] if volume["name"] == mount["name"])
        (item,) = (item for item in volume["configMap"]["items"] if item["path"] == file)
        text: str = of_kind(self.objects, "ConfigMap", volume["configMap"]["name"])["data"][item["key"]]
        return text

    def instance(self) -> Instance:
        """What dnsd makes of the Corefile; CorefileError where it refuses it."""
        return build(self.corefile).instance

    def options(self) -> list[ServerOptions]:
        """What the Corefile says to the server, one a server block."""
        return [block.context.server for block in self.instance().blocks]


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether an equality selector picks an object with these labels."""
    return selector.items() <= labels.items()


def allowed(objects: tuple[Object, ...]) -> set[tuple[str, str, str]]:
    """API group, resource and verb of all that the ClusterRole allows."""
    rules: list[dict[str, Any]] = of_kind(objects, "ClusterRole")["rules"]
    assert {frozenset(rule) for rule in rules} == {frozenset({"apiGroups", "resources", "verbs"})}
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def watched(workload: Workload) -> set[tuple[str, str, str]]:
    """API group, resource and verb of all that dnsd asks the API server with this Corefile."""
    (plugin,) = (plugin for plugin in workload.instance().plugins if isinstance(plugin, Kubernetes))
    asked = set()
    for kind in plugin.cluster.index.kinds:
        _, prefix, *group, _, plural = RESOURCES[kind].path.split("/")
        assert prefix == ("apis" if group else "api")
        asked |= {("".join(group), plural, verb) for verb in ("list", "watch")}
    return asked


def port_of(address: str | None) -> int:
    """The port of a `HOST:PORT` that must be there."""
    assert address is not None
    return int(address.rpartition(":")[2])
