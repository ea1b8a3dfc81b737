"""Pod Security Standards, level restricted: what a pod must be, rule by rule, as Kubernetes documents them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_VOLUMES: Final = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
_PROFILES: Final = {"RuntimeDefault", "Localhost"}
_SYSCTLS: Final = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip


def faults(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield what forbids a pod template in a namespace with the level restricted."""
    spec = pod["spec"]
    whole = spec.get("securityContext") or {}
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"{name} is set"
    for each in whole.get("sysctls") or ():
        if each["name"] not in _SYSCTLS:
            yield f"sysctl {each['name']}"
    for volume in spec.get("volumes") or ():
        for kind in volume.keys() - {"name"} - _VOLUMES:
            yield f"volume {volume['name']} is a {kind}"
    for name in (annotations := pod["metadata"].get("annotations") or {}):
        if "apparmor" in name and annotations[name] not in {"runtime/default", "localhost/*"}:
            yield f"annotation {name}"
    for container in (
        *spec["containers"],
        *(spec.get("initContainers") or ()),
        *(spec.get("ephemeralContainers") or ()),
    ):
        yield from (f"container {container['name']}: {fault}" for fault in _container(container, whole))


def _container(container: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[str]:
    own = container.get("securityContext") or {}
    yield from _rights(own, whole)
    profile = (own.get("seccompProfile") or whole.get("seccompProfile") or {}).get("type")
    if profile not in _PROFILES:
        yield f"seccompProfile is {profile}"
    for each in container.get("ports") or ():
        if each.get("hostPort"):
            yield f"hostPort {each['hostPort']}"
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if ((container.get(name) or {}).get("httpGet") or {}).get("host"):
            yield f"{name} names a host"


def _rights(own: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[str]:
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield "capabilities are not all dropped"
    if added := set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield f"capabilities added: {sorted(added)}"
    if own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    if own.get("runAsUser", whole.get("runAsUser")) == 0:
        yield "runAsUser is 0"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
