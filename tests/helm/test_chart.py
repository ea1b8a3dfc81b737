"""What the chart promises holds in what it renders."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from bridge.config import known_kinds, parse
from helm.values_schema import COPIED
from tests.helm import restricted
from tests.helm.chart import CASES, CHART, Refused, Rendered, annotations_of, values, with_
from tests.helm.tools import helm, helm_docs

pytestmark = pytest.mark.timeout(300)  # the first test builds and fetches the tools
OPS = CHART.parents[1] / "ops"
Render = Callable[[str], Rendered]
#: Oldest version that Chart.yaml admits, and the newest whose schemas we have.
VERSIONS = ("1.27", "1.37")
#: Kinds of the Prometheus operator: Kubernetes itself does not know them.
FOREIGN = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}


@pytest.mark.parametrize("case", CASES)
def test_lint_has_no_complaint(case: str) -> None:
    """`helm lint --strict` passes for all values that ship."""
    done = subprocess.run(
        [helm(), "lint", "--strict", "--quiet", CHART, "--values", CHART / "ci" / f"{case}-values.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_every_object_is_valid(case: str, version: str, rendered: Render) -> None:
    """Each object fits the schema of its kind, without a field that Kubernetes would drop."""
    found = rendered(case)
    for each in (*found.objects, *found.hooks):
        if each["kind"] not in FOREIGN:
            kubernetes_validate.validate(each, version, strict=True)


def test_an_invalid_object_would_be_found(rendered: Render) -> None:
    """The judge of the test above sees a field that there is not."""
    wrong = rendered("minimal").one("StatefulSet")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**wrong, "spec": {**wrong["spec"], "replica": 2}}, VERSIONS[1], strict=True)


@pytest.mark.parametrize("case", CASES)
def test_pods_are_fit_for_restricted(case: str, rendered: Render) -> None:
    """Every pod, hooks and test included, may run in a namespace with Pod Security `restricted`."""
    pods = rendered(case).pods()
    assert len(pods) >= 2
    assert {name: list(restricted.faults(pod)) for name, pod in pods} == {name: [] for name, _ in pods}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"securityContext": {}}, "allowPrivilegeEscalation is not false"),
        ({"podSecurityContext": {"runAsNonRoot": False}}, "runAsNonRoot is not true"),
        ({"podSecurityContext": {"seccompProfile": None}}, "seccompProfile is None"),
        ({"extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}]}, "volume host is a hostPath"),
    ],
)
def test_a_weaker_pod_would_be_found(change: dict[str, Any], fault: str) -> None:
    """The judge of the test above is no rubber stamp."""
    given = {**values("minimal"), **change}
    if "securityContext" in change:
        given["securityContext"] = {"allowPrivilegeEscalation": None, "capabilities": None}
    found = Rendered(given)
    assert any(fault in each for each in restricted.faults(found.pod))


@pytest.mark.parametrize("case", CASES)
def test_no_object_has_the_token_of_an_account(case: str, rendered: Render) -> None:
    """feedbridge asks Kubernetes for nothing, so no pod gets a token."""
    found = rendered(case)
    assert all(pod["spec"]["automountServiceAccountToken"] is False for _, pod in found.pods())
    assert all(each["automountServiceAccountToken"] is False for each in found.all("ServiceAccount"))


@pytest.mark.parametrize("case", CASES)
def test_root_is_read_only_and_what_is_written_is_mounted(case: str, rendered: Render) -> None:
    """Only the journal and /tmp can be written."""
    for _, pod in rendered(case).pods():
        [container] = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        mounts = {each["mountPath"]: each.get("readOnly", False) for each in container["volumeMounts"]}
        assert mounts["/etc/feedbridge/config"] is True
        assert not mounts["/var/lib/feedbridge"]
        assert all(read_only for path, read_only in mounts.items() if path.startswith("/etc/"))


@pytest.mark.parametrize("case", CASES)
def test_the_config_is_one_that_feedbridge_takes(case: str, rendered: Render, tmp_path: Path) -> None:
    """The rendered file loads with the product's own parser, once its secrets are there."""
    text = rendered(case).config
    for name in re.findall(r"\$\{file:([^}]+)\}", text):
        secret = tmp_path / name.lstrip("/")
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text("secret")
        text = text.replace(f"${{file:{name}}}", f"${{file:{secret}}}")
    names = set(re.findall(r"\$\{([A-Z_]+)\}", text))
    config = parse(text, where="values", environ=dict.fromkeys(names, "secret"), folder=tmp_path, kinds=known_kinds())
    assert str(config.journal.path) == "/var/lib/feedbridge"
    assert config.log.format == "json"
    assert config.http.listen == ":8080"


def test_the_name_is_that_of_namespace_and_release_unless_given(rendered: Render) -> None:
    """Two releases never share a ledger by accident."""
    assert yaml.safe_load(rendered("minimal").config)["name"] == "feeds-main"
    assert yaml.safe_load(rendered("ha").config)["name"] == "main"


def test_a_changed_config_restarts_the_pods(rendered: Render) -> None:
    """The checksum of the configuration is an annotation of the pods, and nothing else changes it."""
    checksum = "checksum/config"
    before = annotations_of(rendered("minimal").pod)[checksum]
    assert annotations_of(Rendered(with_("minimal", replicas=3)).pod)[checksum] == before
    assert annotations_of(Rendered(with_("minimal", config__dedupe={"window": "1h"})).pod)[checksum] != before


@pytest.mark.parametrize("case", CASES)
def test_secrets_reach_the_pod_by_reference_only(case: str, rendered: Render) -> None:
    """Nothing that is a secret stands in a ConfigMap, an argument or an environment variable's value."""
    found = rendered(case)
    assert not found.all("Secret")
    for _, pod in found.pods():
        [container] = pod["spec"]["containers"]
        assert container["args"][0] in {"run", "check", "topics", "schemas"}
        assert [each["secretRef"]["name"] for each in container["envFrom"]] == values(case)["existingSecrets"]
        assert {each["name"] for each in container["env"]} <= {"FEEDBRIDGE_CONFIG", "TZ"}


def test_secret_files_are_mounted_where_the_config_finds_them(rendered: Render) -> None:
    """`secretFiles` become read-only folders below /etc/feedbridge/secrets."""
    found = rendered("sasl-ssl")
    mounts = {each["mountPath"]: each["name"] for each in found.container["volumeMounts"]}
    volumes = {each["name"]: each for each in found.pod["spec"]["volumes"]}
    assert volumes[mounts["/etc/feedbridge/secrets/kafka"]]["secret"]["secretName"] == "kafka-credentials"
    assert "${file:/etc/feedbridge/secrets/kafka/password}" in found.config


def test_the_journal_outlives_pod_scaling_and_release(rendered: Render) -> None:
    """It is on a volume of its own, which is kept."""
    spec = rendered("minimal").one("StatefulSet")["spec"]
    [claim] = spec["volumeClaimTemplates"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenScaled": "Retain", "whenDeleted": "Retain"}
    assert claim["spec"]["resources"]["requests"]["storage"] == "4Gi"
    assert "storageClassName" not in claim["spec"]
    spec = rendered("pvc").one("StatefulSet")["spec"]
    assert spec["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "fast"
    assert spec["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"


def test_without_a_volume_the_journal_is_an_empty_folder_of_bounded_size(rendered: Render) -> None:
    """`persistence.enabled: false`, which needs a standby for each lane."""
    found = rendered("lanes")
    assert "volumeClaimTemplates" not in found.one("StatefulSet")["spec"]
    journal = next(each for each in found.pod["spec"]["volumes"] if each["name"] == "journal")
    assert journal["emptyDir"] == {"sizeLimit": "3Gi"}


def test_one_active_and_one_standby_is_the_default(rendered: Render) -> None:
    """Two pods, each of which holds the lane of its ordinal."""
    found = rendered("minimal")
    assert found.one("StatefulSet")["spec"]["replicas"] == 2
    assert yaml.safe_load(found.config)["lanes"]["own"] == "ordinal"


def test_probes_ask_the_process_and_not_the_market(rendered: Render) -> None:
    """Liveness never depends on Kafka or a gateway; readiness asks for what a rolling update must wait for."""
    container = rendered("minimal").container
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 60
    assert container["livenessProbe"]["periodSeconds"] * container["livenessProbe"]["failureThreshold"] >= 30


def test_the_grace_period_covers_the_drain(rendered: Render) -> None:
    """SIGKILL comes later than `shutdown.timeout`."""
    assert rendered("minimal").pod["spec"]["terminationGracePeriodSeconds"] == 30
    assert rendered("pvc").pod["spec"]["terminationGracePeriodSeconds"] == 75


def test_pods_are_kept_apart(rendered: Render) -> None:
    """Soft by default, hard on demand, spread over zones, with the release's own labels."""
    soft = rendered("minimal")
    labels = soft.one("StatefulSet")["spec"]["selector"]["matchLabels"]
    [term] = soft.pod["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["labelSelector"]["matchLabels"] == labels
    [spread] = soft.pod["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    hard = rendered("ha").pod["spec"]
    assert hard["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert hard["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "DoNotSchedule"


def test_a_drain_takes_one_pod_at_a_time(rendered: Render) -> None:
    """The PodDisruptionBudget names the pods; a single pod has none, or its node could never be drained."""
    budget = rendered("minimal").one("PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert not Rendered(with_("minimal", replicas=1)).all("PodDisruptionBudget")


def test_services_reach_the_pods(rendered: Render) -> None:
    """The StatefulSet's own service is headless and knows pods that are not ready; the other is the status page's."""
    found = rendered("minimal")
    services = {each["metadata"]["name"]: each["spec"] for each in found.all("Service")}
    own = services[found.one("StatefulSet")["spec"]["serviceName"]]
    assert own["clusterIP"] == "None"
    assert own["publishNotReadyAddresses"] is True
    assert all(
        each["selector"] == found.one("StatefulSet")["spec"]["selector"]["matchLabels"] for each in services.values()
    )


def test_the_selector_takes_the_pods_of_the_release_alone(rendered: Render) -> None:
    """Neither hooks nor the test are pods of the StatefulSet, its services or its budget."""
    found = rendered("ha")
    selector = found.one("StatefulSet")["spec"]["selector"]["matchLabels"].items()
    matching = [name for name, pod in found.pods() if selector <= pod["metadata"]["labels"].items()]
    assert matching == [found.one("StatefulSet")["metadata"]["name"]]


def test_the_network_policy_opens_what_the_config_names(rendered: Render) -> None:
    """Out: names of hosts, and the ports of Kafka, registry, gateways, REST, AMQP and collector. In: the status page, for those named."""
    policy = rendered("network-policy").one("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    names, others = policy["egress"]
    assert {(each["port"], each["protocol"]) for each in names["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert {each["port"] for each in others["ports"]} == {443, 4318, 5671, 8081, 8443, 9093, 9094}
    [ingress] = policy["ingress"]
    assert ingress["from"] == values("network-policy")["networkPolicy"]["ingressFrom"]
    assert not rendered("minimal").all("NetworkPolicy")
    tokens = rendered("oauth").one("NetworkPolicy")["spec"]["egress"][1]
    assert {each["port"] for each in tokens["ports"]} == {443, 8443, 8444, 9093}


def test_monitors_are_there_where_asked_for(rendered: Render) -> None:
    """Clusters without the operator's definitions install the chart all the same."""
    monitor = rendered("monitoring").one("PodMonitor")
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "http", "path": "/metrics", "interval": "30s"}]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert not [each for each in rendered("minimal").objects if each["kind"] in FOREIGN]
    service = Rendered(with_("minimal", metrics={"serviceMonitor": {"enabled": True}}))
    wanted = service.one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    selected = [each for each in service.all("Service") if wanted <= each["metadata"]["labels"].items()]
    assert len(selected) == 1  # one of the two services, or every pod would be scraped twice


def test_alerts_are_those_of_the_rules_file_but_for_what_is_left_out(rendered: Render) -> None:
    """The chart has no rules of its own; what Prometheus fills in is not taken for a template of Helm's."""
    rules = yaml.safe_load((OPS / "alerts.yaml").read_text())
    [group] = rules["groups"]
    group["rules"] = [rule for rule in group["rules"] if rule["alert"] != "FeedbridgeCollisions"]
    rule = rendered("monitoring").one("PrometheusRule")
    assert rule["spec"] == rules
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_the_dashboard_is_the_one_beside_the_rules(rendered: Render) -> None:
    """To the letter: what is in double braces is Grafana's, not Helm's."""
    [found] = [each for each in rendered("monitoring").all("ConfigMap") if "dashboard" in each["metadata"]["name"]]
    assert json.loads(found["data"]["feedbridge.json"]) == json.loads((OPS / "dashboard.json").read_text())
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Feeds"}


@pytest.mark.parametrize("name", COPIED)
def test_the_chart_holds_what_it_renders(name: str) -> None:
    """Copies of the files that people without Kubernetes use."""
    assert (CHART / "files" / name).read_bytes() == (OPS / name).read_bytes(), "run `make format`"


def test_hooks_run_before_install_and_upgrade_with_a_config_of_their_own(rendered: Render) -> None:
    """First their ConfigMap, then topics, then schemas."""
    hooks = [each for each in rendered("ha").hooks if annotations_of(each)["helm.sh/hook"] == "pre-install,pre-upgrade"]
    assert [each["kind"] for each in hooks] == ["ConfigMap", "Job", "Job"]
    weights = [int(annotations_of(each)["helm.sh/hook-weight"]) for each in hooks]
    assert weights == sorted(weights)
    commands = [each["spec"]["template"]["spec"]["containers"][0]["args"] for each in hooks[1:]]
    assert commands == [["topics", "apply"], ["schemas", "register"]]
    volumes = hooks[1]["spec"]["template"]["spec"]["volumes"]
    assert {"name": hooks[0]["metadata"]["name"]} in [each.get("configMap") for each in volumes]
    assert [each for each in rendered("minimal").hooks if "pre-install" in annotations_of(each)["helm.sh/hook"]] == []


def test_helm_test_checks_the_release(rendered: Render) -> None:
    """`helm test` runs `feedbridge check` with the release's configuration."""
    [check] = [each for each in rendered("minimal").hooks if annotations_of(each)["helm.sh/hook"] == "test"]
    assert check["spec"]["containers"][0]["args"] == ["check"]
    assert check["spec"]["restartPolicy"] == "Never"


def test_extras_land_where_they_belong(rendered: Render) -> None:
    """Labels, annotations, environment, volumes, objects, pull secrets, digest and account of the user's own."""
    found = rendered("existing-secret")
    assert all(
        each["metadata"]["labels"]["team"] == "feeds"
        for each in found.objects
        if each["metadata"]["name"] != "main-more"
    )
    assert all(
        annotations_of(each)["owner"] == "feeds" for each in found.objects if each["metadata"]["name"] != "main-more"
    )
    assert found.pod["metadata"]["labels"]["tier"] == "ingest"
    assert annotations_of(found.pod)["note"] == "two pods"
    assert {"name": "TZ", "value": "UTC"} in found.container["env"]
    assert {"name": "scratch", "mountPath": "/scratch"} in found.container["volumeMounts"]
    assert found.pod["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert found.container["image"].startswith("images.example/feedbridge@sha256:")
    assert found.pod["spec"]["serviceAccountName"] == "feeds"
    assert not found.all("ServiceAccount")
    assert [each["data"] for each in found.all("ConfigMap") if each["metadata"]["name"] == "main-more"] == [{"a": "b"}]


_MUTABLE = {"replicas", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy", "minReadySeconds", "ordinals", "revisionHistoryLimit"}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_upgrade_changes_no_immutable_field(case: str) -> None:
    """To four replicas, another image and configuration, and back: what Kubernetes would refuse to change is the same."""
    before = Rendered(values(case)).one("StatefulSet")
    after = Rendered(with_(case, replicas=4, image__tag="9.9.9", config__log={"level": "debug"})).one("StatefulSet")
    assert after["spec"]["replicas"] == 4
    for name in (before["spec"].keys() | after["spec"].keys()) - _MUTABLE:
        assert before["spec"][name] == after["spec"][name], name


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"replica": 2}, "replica"),
        ({"replicas": "two"}, "replicas"),
        ({"replicas": 1, "config__lanes": {"count": 2}}, "replicas"),
        ({"persistence__enabled": False, "replicas": 1}, "persistence.enabled"),
        ({"persistence__size": "1Gi"}, "persistence.size"),
        ({"persistence__size": "much"}, "persistence/size"),
        ({"terminationGracePeriodSeconds": 20}, "terminationGracePeriodSeconds"),
        ({"config__shutdown": {"timeout": "5m"}}, "terminationGracePeriodSeconds"),
        ({"config__gateways": {}}, "config.gateways"),
        ({"config__kafka": {}}, "bootstrap.servers"),
        ({"config__kafkas": {}}, "kafkas"),
        ({"config__dedupe": {"windw": "1h"}}, "windw"),
        ({"config__gateways__cs2__api_key": "tt_live_secret"}, "api_key"),
        ({"config__kafka__sasl.password": "secret"}, "sasl.password"),
        ({"config__kafka__acks": "1"}, "acks"),
        ({"config__registry": {"url": "https://user:secret@registry"}}, "registry"),
        ({"config__journal": {"path": "/data"}}, "config.journal.path"),
        ({"config__http": {"listen": "127.0.0.1:1234"}}, "config.http.listen"),
        ({"config__name": "Main"}, "config/name"),
        ({"image__digest": "latest"}, "image/digest"),
        ({"image__pullPolicy": "Sometimes"}, "image/pullPolicy"),
        ({"podAntiAffinity": "medium"}, "podAntiAffinity"),
        ({"secretFiles": [{"name": "keys"}]}, "secretFiles"),
        ({"metrics": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}}, "metrics.serviceMonitor"),
        ({"hooks__schemasCheck": True}, "config.registry"),
        ({"hooks": {"schemasCheck": True, "schemasRegister": True}}, "hooks.schemasCheck"),
        ({"topologySpreadConstraints": [{"maxSkew": 1}]}, "topologySpreadConstraints"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_wrong_values_are_refused_by_name(change: dict[str, Any], key: str) -> None:
    """What can't work never reaches the cluster, and the message names the key that is to blame."""
    with pytest.raises(Refused) as refused:
        Rendered(with_("minimal", **change))
    assert key in str(refused.value)


def test_a_network_policy_that_cannot_be_made_is_refused() -> None:
    """A port that hides behind a substitution can't be opened."""
    given = with_("network-policy", config__kafka={"bootstrap.servers": "${KAFKA}:${PORT}"})
    with pytest.raises(Refused, match=r"config\.kafka\.bootstrap\.servers"):
        Rendered(given)


def test_artifact_hub_is_told_what_it_asks_for() -> None:
    """Licence, category and changes, in the words that it takes; and which versions of Kubernetes will do."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    told = {name.removeprefix("artifacthub.io/"): text for name, text in chart["annotations"].items()}
    assert told["license"] == "Apache-2.0"
    assert told["category"] == "streaming-messaging"
    changes = yaml.safe_load(told["changes"])
    assert {each["kind"] for each in changes} <= {"added", "changed", "deprecated", "removed", "fixed", "security"}
    assert all(each["description"] for each in changes)
    assert chart["kubeVersion"] == f">={VERSIONS[0]}.0-0"


def test_every_value_is_described() -> None:
    """values.yaml, its schema and the README name the same values."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert set(defaults) == set(schema["properties"]) - {"global"}
    done = subprocess.run(
        [helm_docs(), "--chart-search-root", CHART, "--dry-run"], capture_output=True, text=True, check=True, cwd=CHART
    )
    assert done.stdout.strip() == (CHART / "README.md").read_text().strip()


def test_the_schema_of_the_values_is_up_to_date() -> None:
    """It holds the schema of the configuration file as the product has it now."""
    from helm.values_schema import FILE, text

    assert FILE.read_text() == text()
