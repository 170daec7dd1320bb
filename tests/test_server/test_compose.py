"""docker-compose.yml and the Dockerfile, checked without an engine: what they name must exist in the code."""

import os
import re
import subprocess
import threading
import time
import tomllib
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
import typer
import yaml

from server.cli import app
from server.process.beat import Beat
from server.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("encore:")}
ONE_SHOT = {"init"}
WATCHERS = {"prometheus", "grafana"}
"""What only the profile `watch` starts."""
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMMANDS: Mapping[str, Any] = typer.main.get_group(app).commands
VARIABLES = {str(field.validation_alias) for field in Settings.model_fields.values()}


def test_what_runs() -> None:
    assert set(SERVICES) == {
        "kafka",
        "redis",
        "kafdrop",
        "init",
        "stream",
        "api",
        "monitor",
        "ui",
        "console",
        "producer",
        "mlflow",
        *WATCHERS,
    }
    assert SERVICES["mlflow"]["profiles"] == ["ui"]
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["watch"]} == WATCHERS
    assert set(OURS) == {"init", "stream", "api", "monitor", "ui", "console", "producer"}


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+[a-z0-9.-]*", SERVICES[name]["image"])


def test_mlflows_pages_are_of_the_version_that_writes_their_database() -> None:
    locked = re.search(r'name = "mlflow-skinny"\nversion = "(.+)"', (ROOT / "uv.lock").read_text())
    assert locked
    dockerfile = (ROOT / "deploy" / "mlflow" / "Dockerfile").read_text()
    assert f"mlflow=={locked[1]}\n" in dockerfile
    (base,) = re.findall(r"^FROM (\S+) AS run$", DOCKERFILE, re.MULTILINE)
    assert f"FROM {base}\n" in dockerfile


def test_our_image_has_our_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert {service["image"] for service in OURS.values()} == {f"encore:{version[1]}"}
    chart = yaml.safe_load((ROOT / "deploy" / "helm" / "encore" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version[1], version[1])


@pytest.mark.parametrize("name", OURS)
def test_settings_are_known_and_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {key: _interpolated(str(value)) for key, value in OURS[name]["environment"].items()}
    assert set(environment) <= VARIABLES
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    settings = Settings()
    assert settings.home == Path("/data")
    assert settings.kafka_servers.split(":")[0] in SERVICES
    assert settings.redis_host in SERVICES


def test_prometheus_asks_every_part_that_says_something() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    asked: dict[str, tuple[str, int]] = {}
    for job in config["scrape_configs"]:
        of_job = [target.split(":") for one in job.get("static_configs", ()) for target in one["targets"]]
        of_job += [(name, one["port"]) for one in job.get("dns_sd_configs", ()) for name in one["names"]]
        asked |= {name: (job["job_name"], int(port)) for name, port in of_job}
    settings = COMPOSE["x-encore"]["environment"]
    ports = {part: int(settings[f"ENCORE_{part.upper()}_PORT"]) for part in ("stream", "monitor", "producer")}
    assert asked == {"api": ("encore", 8000)} | {part: (f"encore-{part}", port) for part, port in ports.items()}
    assert {"monitor", "producer"} <= set(_interpolated(settings["ENCORE_HOSTS"]).split(",")), (
        "a worker is asked by its address"
    )


OF_COMPOSE = {
    "KAFKA_SERVERS", "KAFKA_TLS", "KAFKA_CA", "KAFKA_USERNAME", "KAFKA_PASSWORD", "KAFKA_SASL_MECHANISM",
    "REDIS_HOST", "REDIS_CLUSTER", "REDIS_USERNAME", "REDIS_TLS", "REDIS_CA",
    "ENCORE_REDIS_REPLICAS", "ENCORE_REDIS_WAIT_MS",
}  # fmt: skip
"""Of the Kafka and the Redis that compose starts."""

OF_A_CONTAINER = {
    "API_HOST", "ENCORE_API_OPEN", "FEAST_UI_HOST", "CONSOLE_HOST", "ENCORE_METRICS_HOST", "MLFLOW_PORT",
    "ENCORE_STREAM_PORT", "ENCORE_MONITOR_PORT", "ENCORE_PRODUCER_PORT",
    "ENCORE_HOME", "ENCORE_BEAT", "ENCORE_RUN_LOGS", "ENCORE_SHARED_METERS", "ENCORE_ASKED_BY",
}  # fmt: skip
"""Where a process is and listens within its container, what one process says to another, `encore up` and `mlflow`."""

OF_SPARK = {name for name in VARIABLES if "SPARK" in name} | {"ENCORE_BATCH"}
"""The image has no Spark."""


def test_every_setting_can_be_given_by_the_host() -> None:
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert VARIABLES - asked == OF_COMPOSE | OF_A_CONTAINER | OF_SPARK
    settings = COMPOSE["x-encore"]["environment"]
    for variable in asked - {"ENCORE_PROJECT", "API_PORT", "FEAST_UI_PORT", "CONSOLE_PORT", "REDIS_PORT"}:
        assert f"${{{variable}:-" in settings[variable]


def test_the_image_has_every_extra_that_a_part_may_need() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"--extra (\w+)", DOCKERFILE)) == set(extras) - {"embedded", "mlflow", "spark"}


def test_only_settings_are_asked_of_the_host() -> None:
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert asked
    assert asked <= VARIABLES


@pytest.mark.parametrize("name", OURS)
def test_commands_and_flags_exist(name: str) -> None:
    command, *flags = re.findall(r"encore ([a-z]+)((?: .*)?)", " ".join(OURS[name]["command"]))[0]
    known = {
        option for parameter in COMMANDS[command].params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert set(re.findall(r"--[a-z-]+", flags[0])) <= known


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in ONE_SHOT])
def test_what_lasts_has_a_health_check_and_restarts(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries"} <= check.keys()
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_what_runs_once_does_not_restart() -> None:
    assert {SERVICES[name]["restart"] for name in ONE_SHOT} == {"no"}


def test_health_checks_ask_what_is_there() -> None:
    checks = {name: service["healthcheck"]["test"] for name, service in OURS.items() if name not in ONE_SHOT}
    assert all(check[:2] == ["CMD", "well"] for check in checks.values())
    for name, port, path in (
        ("api", "API_PORT", "/health/ready"),
        ("ui", "FEAST_UI_PORT", "/"),
        ("console", "CONSOLE_PORT", "/_stcore/health"),
    ):
        assert checks[name][2:] == ["http", OURS[name]["environment"][port], path]
    assert {name for name, check in checks.items() if check[2] == "beat"} == {"stream", "monitor", "producer"}


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in ONE_SHOT])
def test_health_checks_are_patient_at_the_start(name: str) -> None:
    """On a busy machine a start takes minutes; a check that gives up then aborts all of `docker compose up`."""
    assert SERVICES[name]["healthcheck"]["start_period"] == "900s"


@pytest.mark.integration
class TestWell:
    """The script of the health checks."""

    def test_a_young_beat_is_well_and_an_old_one_is_not(self, tmp_path: Path) -> None:
        beat = tmp_path / "beat"
        assert not _is_well("beat", "15", beat)
        Beat(beat)()
        assert _is_well("beat", "15", beat)
        os.utime(beat, (0, time.time() - 60))
        assert not _is_well("beat", "15", beat)

    def test_only_200_is_well(self) -> None:
        with LocalServer() as server:
            assert _is_well("http", str(server.port), "/well")
            assert not _is_well("http", str(server.port), "/unwell")
        assert not _is_well("http", str(server.port), "/well")


def test_everything_waits_for_what_it_needs() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
            assert how["condition"] == expected, f"{name} waits for {needed}"
    needs = {name: _all_needs(name) for name in SERVICES}
    assert needs["init"] == {"redis"}
    assert needs["stream"] == {"kafka", "redis", "init"}
    assert needs["producer"] == {"stream", "kafka", "redis", "init"}
    assert needs["api"] == {"redis", "init"}


def test_workers_can_be_scaled() -> None:
    assert not {"container_name", "ports", "hostname"} & OURS["stream"].keys()
    assert "$$HOSTNAME" in OURS["stream"]["command"][-1]
    assert not any("container_name" in service for service in SERVICES.values())


def test_ports_are_published_to_this_machine_alone() -> None:
    published = {}
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            host, outside, inside = _interpolated(port).split(":")
            assert host == "127.0.0.1"
            assert outside == inside
            published[name] = int(inside)
    ours = {"kafka": 9092, "redis": 6379, "kafdrop": 9000, "api": 8000, "ui": 8888, "console": 8501}
    assert published == ours | {"mlflow": 5000, "prometheus": 9090, "grafana": 3000}


def test_state_is_in_named_volumes() -> None:
    mounted = {
        _interpolated(volume).split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])
    }
    named = {volume for volume in mounted if not volume.startswith(("./", "/"))}
    assert named == set(COMPOSE["volumes"])
    assert [volume for volume in mounted if volume.startswith("./") and not (ROOT / volume).exists()] == []
    assert all("encore-data:/data" in service["volumes"] for service in OURS.values())


@pytest.mark.parametrize("name", OURS)
def test_a_project_is_mounted_where_its_setting_says(name: str) -> None:
    """Without one nothing is there, and what the project itself sets is not overridden."""
    environment = OURS[name]["environment"]
    assert environment["ENCORE_PROJECT"] == "${ENCORE_PROJECT:+/project}"
    assert "${ENCORE_PROJECT:-/dev/null}:/project:ro" in OURS[name]["volumes"]
    assert _interpolated(environment["ENCORE_CLOCK"]) == ""


def test_redis_keeps_its_data() -> None:
    assert "--appendonly yes" in SERVICES["redis"]["command"][-1]


def test_one_password_lets_all_into_redis() -> None:
    secret = "${REDIS_PASSWORD:-}"
    assert SERVICES["redis"]["environment"]["REDISCLI_AUTH"] == secret
    assert {service["environment"]["REDIS_PASSWORD"] for service in OURS.values()} == {secret}


@pytest.mark.parametrize("name", SERVICES)
def test_what_runs_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] <= 512
    assert re.fullmatch(r"\d+[gm]", service["mem_limit"])
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "2"}
    assert service.get("read_only") or name in {"kafka", "kafdrop"}, "their images write beside their volumes"


def test_kafka_tells_each_side_its_own_address() -> None:
    kafka = SERVICES["kafka"]["environment"]
    advertised = dict(listener.split("://") for listener in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    listeners = dict(listener.split("://") for listener in kafka["KAFKA_LISTENERS"].split(","))
    inside = advertised[kafka["KAFKA_INTER_BROKER_LISTENER_NAME"]]
    assert {service["environment"]["KAFKA_SERVERS"] for service in OURS.values()} == {inside}
    assert SERVICES["kafdrop"]["environment"]["KAFKA_BROKERCONNECT"] == inside
    assert "localhost:9092" in advertised.values()
    for name, address in advertised.items():
        assert listeners[name].split(":")[-1] == address.split(":")[-1]
    voter = kafka["KAFKA_CONTROLLER_QUORUM_VOTERS"].removeprefix(f"{kafka['KAFKA_NODE_ID']}@")
    assert listeners[kafka["KAFKA_CONTROLLER_LISTENER_NAMES"]] == voter
    named = {pair.split(":")[0] for pair in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
    assert named == set(listeners)


def test_the_image_is_built_in_stages_and_runs_as_nobody_special() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, re.MULTILINE)
    assert [name for _, name in stages] == ["libraries", "own", "run"]
    images = {image for image, _ in stages} - {"libraries"}
    assert len(images) == 1, "a virtual environment moves only between equal Pythons"
    assert re.fullmatch(r"python:3\.\d+\.\d+-[a-z-]+", stages[0][0])
    assert {name for name, service in OURS.items() if "build" in service} == {"init"}, "built once for all"
    assert OURS["init"]["build"]["target"] == "run"
    run = DOCKERFILE[DOCKERFILE.index(" AS run") :]
    users = re.findall(r"^USER (\w+)$", run, re.MULTILINE)
    assert users == ["encore"]
    assert f"-o {users[0]}" in run
    assert re.search(r"uv==\d+\.\d+\.\d+", DOCKERFILE)


def test_what_the_image_copies_exists_and_is_let_through() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    let_through = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert let_through == {"deploy/image" if source == "deploy/image/well" else source for source in copied}
    assert [source for source in copied if not (ROOT / source).exists()] == []
    packages = re.search(r"^packages = \[(.+)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert packages
    assert set(re.findall(r'"(\w+)"', packages[1])) <= copied


class LocalServer(ThreadingHTTPServer):
    """Answers 200 at /well, and 503 elsewhere."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.port = self.server_port

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _is_well(how: str, what: str, where: str | Path) -> bool:
    command = [ROOT / "deploy" / "image" / "well", how, what, *([where] if how == "http" else [])]
    done = subprocess.run(command, env=os.environ | {"ENCORE_BEAT": str(where)}, capture_output=True, check=False)
    return done.returncode == 0


def _interpolated(value: str) -> str:
    """The value where the host sets nothing."""
    return re.sub(r"\$\{\w+:\+[^}]*\}", "", re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))


def _all_needs(name: str) -> set[str]:
    direct = set(SERVICES[name].get("depends_on", {}))
    return direct.union(*map(_all_needs, direct))
