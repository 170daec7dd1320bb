"""docker-compose.yml, run for real: from nothing to a score, then what happens to containers in a year.

    up → scores → three workers → broker and store killed → a worker killed → a new image → down → up again

`make test-containers` runs it: Debian's engine, and stand-ins for the base images (`stand_ins.py` says what differs).
The tests of this file are one story, in its order.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from container_engine import Engine, lack
from polling import poll_until
from stand_ins import make_stand_ins

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".tools" / "containers"
ASK = "http://localhost:8000/predict?user_id=u000673&product_id=p00342"
MOST_MB = 9_000
"""Disk that all may take, without the cache."""

pytestmark = [
    pytest.mark.containers,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(lack()), reason=lack() or "there is an engine"),
]


class Compose:
    """The project's compose file in an engine, with figures that are printed at the end."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self._began = time.monotonic()

    def __call__(self, *command: object, **options: Any) -> str:
        return self.engine.docker("compose", *command, cwd=self.folder, **options)

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s  {what}")

    def say_memory(self) -> None:
        print(self.engine.docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.CPUPerc}}"))

    def up(self, *flags: str) -> None:
        # On a machine that 30 processes want, `init` alone took 22 minutes.
        self("up", "-d", "--wait", "--wait-timeout", "2700", "--quiet-pull", *flags, timeout=2800)

    def parts(self) -> dict[str, list[dict[str, Any]]]:
        """Containers by service."""
        found: dict[str, list[dict[str, Any]]] = {}
        for line in self("ps", "-a", "--format", "json").splitlines():
            container = json.loads(line)
            found.setdefault(container["Service"], []).append(container)
        return found

    def unwell(self) -> list[str]:
        """Containers that are not as they should be."""
        return [
            f"{container['Name']}: {container['Status']}"
            for service, containers in self.parts().items()
            for container in containers
            if (container["ExitCode"] != 0 if service == "init" else container["Health"] != "healthy")
        ]

    def ask(self, url: str = ASK) -> Any:
        return json.loads(self.engine.inside("curl", "-sSf", "--max-time", "10", url))

    def encore(self, *command: str) -> Any:
        """Run a command of ours in the API's container; return its result, also where that is none (exit code 1)."""
        said = self("exec", "-T", "api", "sh", "-c", '"$@" || [ $? = 1 ]', "sh", "encore", *command, "--json")
        return json.loads(said.splitlines()[-1])

    def kill(self, service: str) -> None:
        """End a service's first container as the kernel does that lacks memory; Docker starts it again."""
        name = self.parts()[service][0]["Name"]
        pid = self.engine.docker("inspect", "-f", "{{.State.Pid}}", name).strip()
        self.engine.inside("kill", "-9", pid)
        poll_until(lambda: self.engine.docker("inspect", "-f", "{{.RestartCount}}", name).strip() != "0")

    def settled(self) -> dict[str, Any]:
        """Status once everything that was sent is folded, and every container is well."""
        poll_until(lambda: not self.unwell(), 300, every_s=2)

        def status_if_folded() -> dict[str, Any]:
            status: dict[str, Any] = self.encore("status")
            return status if not status["problems"] and status["lag"] == 0 else {}

        return poll_until(status_if_folded, 120, every_s=2)


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The project in an engine that has nothing yet but the base images."""
    folder = tmp_path_factory.mktemp("encore")
    for name in ("Dockerfile", "docker-compose.yml", ".dockerignore", "deploy", *_let_through()):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy(source, folder / name)
    with Engine(CACHE) as engine:
        made = Compose(engine, folder)
        make_stand_ins(engine, ROOT)
        made.say("engine and stand-ins are there")
        yield made
        used = engine.used_mb()
        made.say(f"done: {used:,} MB of disk")
        made("down", "-v", "--timeout", "20")
    assert used < MOST_MB


def _let_through() -> list[str]:
    """What goes to the builder, as .dockerignore says."""
    return re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)


def test_the_file_is_whole(compose: Compose) -> None:
    assert compose("config", "--quiet") == ""
    assert compose("--profile", "ui", "--profile", "watch", "config", "--quiet") == ""


def test_it_comes_up_from_nothing(compose: Compose) -> None:
    compose("build")
    compose.say("image built")
    compose.up()
    compose.say("all containers are healthy")
    assert compose.unwell() == []
    compose.say_memory()


def test_it_answers(compose: Compose) -> None:
    assert 0 <= compose.ask()["confidence"] <= 1
    for url in ("localhost:8501/_stcore/health", "localhost:8888/", "localhost:9000/actuator/health"):
        compose.engine.inside("curl", "-sSf", "--max-time", "20", "-o", "/dev/null", f"http://{url}")
    assert compose.encore("verify", "--sample", "3")["ok"]


def test_feast_and_every_extra_work_inside(compose: Compose) -> None:
    views = compose(
        "exec", "-T", "api", "feast", "-c", "feast/feature_repo", "-f", "/data/feast/feature_store.yaml",
        "feature-views", "list",
    )  # fmt: skip
    assert "user_features" in views
    compose("exec", "-T", "api", "python", "-c", "import lightgbm, xgboost, optuna, streamlit, opentelemetry.sdk")


def test_nobody_in_a_container_may_do_much(compose: Compose) -> None:
    for service in ("api", "stream", "producer", "console"):
        tried = compose(
            "exec", "-T", service, "sh", "-c", "id -u; touch /app/x 2>&1 || true; grep CapEff /proc/self/status"
        )
        user, refused, capabilities = tried.splitlines()
        assert (user, capabilities.split()[1].strip("0")) == ("10001", "")
        assert "Read-only" in refused


def test_mlflows_pages_show_our_models(compose: Compose) -> None:
    compose("--profile", "ui", "build", "mlflow")
    compose("--profile", "ui", "up", "-d", "--wait", "--wait-timeout", "1500", "mlflow", timeout=1600)
    found = compose.ask("http://localhost:5000/api/2.0/mlflow/registered-models/search")
    assert [model["name"] for model in found["registered_models"]] == ["repeat_purchase"]
    pages = compose.engine.docker("ps", "--quiet", "--filter", "name=mlflow").strip()
    processes = compose.engine.docker("top", pages)
    assert "mlflow.server" in processes
    assert "mlflow.server.jobs" not in processes, "they take a gigabyte, and Encore has no jobs"
    compose.say_memory()
    compose("--profile", "ui", "rm", "--stop", "--force", "mlflow")


def test_prometheus_asks_every_part(compose: Compose) -> None:
    compose("--profile", "watch", "up", "-d", "--wait", "--wait-timeout", "1500", "prometheus", timeout=1600)

    def health() -> dict[str, str]:
        targets = compose.ask("http://localhost:9090/api/v1/targets?state=active")["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in targets}

    asked = dict.fromkeys(("encore", "encore-stream", "encore-monitor", "encore-producer"), "up")
    poll_until(lambda: health() == asked, 300, every_s=2)
    groups = compose.ask("http://localhost:9090/api/v1/rules")["data"]["groups"]
    assert all(rule["health"] != "err" for group in groups for rule in group["rules"])
    assert groups
    compose.say_memory()
    compose("--profile", "watch", "rm", "--stop", "--force", "prometheus")


def test_three_workers_share_the_stream(compose: Compose) -> None:
    compose.up("--no-recreate", "--scale", "stream=3")
    poll_until(lambda: sorted(len(worker["ends"]) for worker in compose.encore("status")["workers"]) == [1, 1, 2])


def test_nothing_is_lost_when_broker_store_and_worker_are_killed(compose: Compose) -> None:
    before = compose.settled()["produced"]
    sent = 0
    for service in ("kafka", "redis", "stream"):
        summary = compose.encore("produce", "--mode", "burst", "--count", "2000")
        assert (summary["sent"], summary["errors"]) == (2000, 0)
        sent += summary["sent"]
        compose.kill(service)
        compose.say(f"{service} killed")
        poll_until(lambda: not compose.unwell(), 300, every_s=2)
    status = compose.settled()
    assert status["produced"] - before >= sent
    assert compose.encore("verify", "--sample", "5")["ok"]


def test_a_new_image_takes_over(compose: Compose) -> None:
    module = compose.folder / "server" / "__init__.py"
    module.write_text(module.read_text() + "\n# The next version.\n")
    began = time.monotonic()
    compose("build")
    compose.say(f"a change of code is built in {time.monotonic() - began:.0f} s")
    layers = compose.engine.docker("history", "--format", "{{.Size}} {{.CreatedBy}}", "encore:0.1.0")
    own = next(line for line in layers.splitlines() if "/app/own" in line and "COPY" in line)
    assert re.match(r"[\d.]+(kB|MB)", own)
    assert float(re.split("[kM]", own)[0]) < 20 or "kB" in own
    compose.up("--scale", "stream=3")
    compose.settled()


def test_everything_stops_in_its_grace_period_and_comes_back_with_its_state(compose: Compose) -> None:
    folded = compose.settled()["produced"]
    began = time.monotonic()
    compose("down")
    took_s = time.monotonic() - began
    compose.say(f"down in {took_s:.0f} s")
    assert took_s < 60
    compose.up()
    compose.say("up again")
    status = compose.settled()
    assert status["produced"] >= folded
    assert compose.encore("verify", "--sample", "3")["ok"]
