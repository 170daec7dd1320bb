"""The Helm chart: what it makes of its values. Needs helm, on the PATH or by `make chart`."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from charts import CHART, EXAMPLES, HELM, helm, objects
from kubernetes_schemas import lack_of_schemas, wrong_in

from server.cli import app
from server.settings import Settings

ROOT = Path(__file__).parents[2]
VARIABLES = {str(field.validation_alias) for field in Settings.model_fields.values()}
OF_KUBERNETES = {"HOSTNAME"}
WORKLOADS = {"Deployment", "StatefulSet", "Job"}

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(HELM is None, reason="no helm here; `make chart` builds it where there is Go"),
]

BY_SCHEMAS = pytest.mark.skipif(bool(lack_of_schemas()), reason=lack_of_schemas() or "there are schemas")


def by_name(made: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in made if one["kind"] == kind}


def containers(made: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The container of each part."""
    pods = [one["spec"]["template"]["spec"] for one in made if one["kind"] in WORKLOADS]
    return {container["name"]: container for pod in pods for container in pod["containers"]}


def kinds(made: list[dict[str, Any]]) -> Counter[str]:
    return Counter(one["kind"] for one in made)


@pytest.fixture(scope="module", params=[None, *EXAMPLES], ids=["defaults", *(path.stem for path in EXAMPLES)])
def made(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return objects(*(["--values", request.param] if request.param else []))


@pytest.mark.parametrize("values", [CHART / "values.yaml", *EXAMPLES], ids=lambda path: path.stem)
def test_lint_is_content(values: Path) -> None:
    done = helm("lint", "--strict", CHART, "--values", values, "--set", "secret=mine")
    assert done.returncode == 0, done.stdout


def test_one_node_has_one_of_each() -> None:
    made = objects("--values", CHART / "values" / "one-node.yaml")
    assert kinds(made) == {
        "Deployment": 4, "StatefulSet": 1, "Service": 4, "Job": 1, "ConfigMap": 2, "PersistentVolumeClaim": 1,
        "NetworkPolicy": 1,
    }  # fmt: skip
    assert {one["spec"]["replicas"] for one in made if one["kind"] in {"Deployment", "StatefulSet"}} == {1}


def test_a_cluster_scales_and_is_watched() -> None:
    made = objects("--values", CHART / "values" / "cluster.yaml")
    assert kinds(made) == {
        "Deployment": 4, "StatefulSet": 1, "Service": 4, "Job": 1, "ConfigMap": 3,
        "NetworkPolicy": 1, "HorizontalPodAutoscaler": 1, "PodDisruptionBudget": 1, "Ingress": 1, "ScaledObject": 1,
        "TriggerAuthentication": 1, "ServiceMonitor": 1, "PodMonitor": 1, "PrometheusRule": 1,
    }  # fmt: skip
    assert "replicas" not in by_name(made, "Deployment")["shop-api"]["spec"], "the autoscaler decides"
    assert "replicas" not in by_name(made, "StatefulSet")["shop-stream"]["spec"], "KEDA decides"
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    assert by_name(made, "PrometheusRule")["shop"]["spec"] == rules
    dashboard = json.loads(by_name(made, "ConfigMap")["shop-dashboard"]["data"]["encore.json"])
    assert dashboard["title"] == "Encore"


def test_whatever_works_is_asked_for_its_metrics() -> None:
    made = objects("--values", CHART / "values" / "cluster.yaml")
    asked = by_name(made, "PodMonitor")["shop"]["spec"]
    (parts,) = (one["values"] for one in asked["selector"]["matchExpressions"])
    (endpoint,) = asked["podMetricsEndpoints"]
    for part in parts:
        container = containers(made)[part]
        (port,) = container["ports"]
        env = {one["name"]: one.get("value") for one in container["env"]}
        assert port["name"] == endpoint["port"]
        assert env[f"ENCORE_{part.upper()}_PORT"] == str(port["containerPort"])
        assert env["ENCORE_METRICS_HOST"] == "0.0.0.0"
    (ingress,) = by_name(made, "NetworkPolicy")["shop"]["spec"]["ingress"]
    assert {"port": endpoint["port"]} in ingress["ports"]
    assert endpoint["authorization"]["credentials"]["key"] == "METRICS_KEY"


@BY_SCHEMAS
def test_kubernetes_and_its_operators_know_every_field(made: list[dict[str, Any]]) -> None:
    assert {(one["kind"], one["metadata"]["name"]): wrong for one in made if (wrong := wrong_in(one))} == {}


@BY_SCHEMAS
def test_a_field_that_nobody_knows_is_found() -> None:
    made = objects("--values", CHART / "values" / "cluster.yaml")
    by_name(made, "StatefulSet")["shop-stream"]["spec"]["template"]["spec"]["containers"][0]["imagee"] = "misspelt"
    by_name(made, "ScaledObject")["shop-stream"]["spec"]["triggers"][0]["typo"] = "kafka"
    by_name(made, "PodMonitor")["shop"]["spec"]["podMetricsEndpoints"][0]["interval"] = 15
    assert sum(len(wrong_in(one)) for one in made) == 3


def test_names_and_labels_fit_together(made: list[dict[str, Any]]) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in made]
    assert len(set(names)) == len(names)
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in made if one["kind"] in WORKLOADS]
    selectors = [
        one["spec"]["selector"].get("matchLabels", one["spec"]["selector"])
        for one in made
        if one["kind"] in {"Deployment", "StatefulSet", "Service", "PodDisruptionBudget"}
    ]
    for selector in selectors:
        assert sum(selector.items() <= labels.items() for labels in pods) == 1
    services = by_name(made, "Service")
    assert all(stateful["spec"]["serviceName"] in services for stateful in by_name(made, "StatefulSet").values())


def test_settings_are_known(made: list[dict[str, Any]]) -> None:
    maps = by_name(made, "ConfigMap")
    assert set(maps["shop"]["data"]) <= VARIABLES
    assert maps["shop-init"]["data"] == maps["shop"]["data"]
    for container in containers(made).values():
        assert {variable["name"] for variable in container["env"]} <= VARIABLES | OF_KUBERNETES


def test_commands_exist(made: list[dict[str, Any]]) -> None:
    commands = typer.main.get_group(app).commands
    for container in containers(made).values():
        line = container["command"]
        lines = [one.removeprefix("exec ").split() for one in line[2].split(" && ")] if line[0] == "sh" else [line]
        for words in lines:
            assert words[0] == "encore"
            options = commands[words[1]].params
            known = {flag for option in options for flag in (*option.opts, *option.secondary_opts)}
            assert {word for word in words if word.startswith("--")} <= known


def test_nobody_may_do_much(made: list[dict[str, Any]]) -> None:
    for one in made:
        if one["kind"] not in WORKLOADS:
            continue
        pod = one["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert one["kind"] == "Job" or {"startupProbe", "livenessProbe"} <= container.keys()


def test_secrets_come_from_outside(made: list[dict[str, Any]]) -> None:
    assert not by_name(made, "Secret")
    text = yaml.safe_dump_all(made)
    assert "PASSWORD:" not in text
    assert all({"secretRef": {"name": "mine"}} in container["envFrom"] for container in containers(made).values())


def test_an_api_without_keys_is_refused_unless_it_is_meant() -> None:
    done = helm("template", "shop", CHART, "--kube-version", "1.33")
    assert done.returncode != 0
    assert "ENCORE_API_KEYS" in done.stderr
    api = containers(objects("--set", "secret=,api.open=true"))["api"]
    assert {"name": "ENCORE_API_OPEN", "value": "true"} in api["env"]


def test_a_worker_is_named_after_its_pod() -> None:
    stream = containers(objects())["stream"]
    assert stream["command"][-2:] == ["--name", "$(HOSTNAME)"]
    assert stream["env"][0]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"


def test_the_home_can_be_a_volume_of_ones_own() -> None:
    made = objects("--set", "home.existingClaim=mine")
    assert not by_name(made, "PersistentVolumeClaim")
    volumes = by_name(made, "StatefulSet")["shop-stream"]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["persistentVolumeClaim"]["claimName"] == "mine"


def test_pods_share_no_volume_where_a_bucket_is() -> None:
    made = objects("--set", "storage=s3://shop/encore,serviceAccount=shop,home.size=9Gi,feastUi.enabled=true")
    assert not by_name(made, "PersistentVolumeClaim")
    assert by_name(made, "ConfigMap")["shop"]["data"]["ENCORE_STORAGE"] == "s3://shop/encore"
    pods = [one["spec"]["template"]["spec"] for one in made if one["kind"] in WORKLOADS]
    assert all(pod["volumes"][0] == {"name": "home", "emptyDir": {"sizeLimit": "9Gi"}} for pod in pods)
    assert {pod["serviceAccountName"] for pod in pods} == {"shop"}
    assert containers(made)["feast-ui"]["command"][-1] == "encore features && exec encore ui"


def test_tokens_of_an_issuer_do_without_a_secret() -> None:
    issuer = "settings.ENCORE_OIDC_ISSUER=https://id.example.org,settings.ENCORE_OIDC_AUDIENCE=encore"
    made = objects("--set", f"secret=,{issuer}")
    assert by_name(made, "ConfigMap")["shop"]["data"]["ENCORE_OIDC_AUDIENCE"] == "encore"
    assert all(len(container["envFrom"]) == 1 for container in containers(made).values())


def test_a_project_has_its_own_topic_and_group() -> None:
    made = objects("--values", CHART / "values" / "cluster.yaml", "--set", "settings.ENCORE_PROJECT=toys")
    trigger = by_name(made, "ScaledObject")["shop-stream"]["spec"]["triggers"][0]["metadata"]
    names = Settings(project="toys").kafka_names
    assert (trigger["topic"], trigger["consumerGroup"]) == (names.events, names.group)
    default = objects("--values", CHART / "values" / "cluster.yaml")
    trigger = by_name(default, "ScaledObject")["shop-stream"]["spec"]["triggers"][0]["metadata"]
    assert (trigger["topic"], trigger["consumerGroup"]) == (Settings().kafka_names.events, Settings().kafka_names.group)


def test_a_projects_folder_is_mounted_and_its_history_imported(made: list[dict[str, Any]]) -> None:
    flags = ("--set", "project.name=toys,project.configMap=toys-files,project.files={s3://b/o.parquet,s3://b/p q}")
    of_project = objects("--values", CHART / "values" / "cluster.yaml", *flags)
    for container in containers(of_project).values():
        assert {"name": "project", "mountPath": "/project", "readOnly": True} in container["volumeMounts"]
    assert by_name(of_project, "ConfigMap")["shop"]["data"]["ENCORE_PROJECT"] == "/project"
    command = containers(of_project)["init"]["command"]
    assert command[:2] == ["sh", "-c"]
    assert command[3:] == ["init", "s3://b/o.parquet", "s3://b/p q"]
    trigger = by_name(of_project, "ScaledObject")["shop-stream"]["spec"]["triggers"][0]["metadata"]
    assert trigger["topic"] == Settings(project="toys").kafka_names.events
    assert all("project" not in {each["name"] for each in one["volumeMounts"]} for one in containers(made).values())


@pytest.mark.parametrize(
    "wrong",
    [
        "project.configMap=toys",
        "project.files={a.csv}",
        "kafka.servers=kafka",
        "kafka.mechanism=GSSAPI",
        "redis.port=70000",
        "apii.replicas=2",
        "api.replicas=-1",
        "settings.REDIS_PASSWORD=hunter2",
        "settings.PATH=/tmp",
        "api.ingress.enabled=true",
        "certificates.kafka=true",
        "home.accessMode=ReadOnlyMany",
        "storage=/mnt/shared",
    ],
)
def test_wrong_values_are_refused(wrong: str) -> None:
    done = helm("template", "shop", CHART, "--kube-version", "1.33", "--set", f"secret=mine,{wrong}")
    assert done.returncode != 0
    assert "schema" in done.stderr
