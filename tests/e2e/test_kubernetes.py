"""The chart before a real API server of Kubernetes: it takes every object as it is, and Helm installs the release.

Nothing runs there: no pod starts, and the job before an install is called complete by the test. `make test-kubernetes`
builds the server, once; without it the tests are skipped.
"""

import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_server import ApiServer, api_server, lack_of_server
from charts import CHART, EXAMPLES, HELM, objects
from kubernetes_schemas import definitions_of_kinds, lack_of_schemas
from polling import poll_until

LACK = lack_of_server() or lack_of_schemas()

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(LACK), reason=LACK or "there is a server"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """A server that knows the kinds of the Prometheus operator and of KEDA."""
    with api_server() as server:
        for definition in definitions_of_kinds():
            server.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        for definition in definitions_of_kinds():
            spec = definition["spec"]
            group = f"/apis/{spec['group']}/{spec['versions'][0]['name']}"

            def is_known(group: str = group, plural: str = spec["names"]["plural"]) -> bool:
                return server.client.get(f"{group}/namespaces/default/{plural}").is_success

            poll_until(is_known, 120, every_s=0.2)
        yield server


@pytest.mark.parametrize("values", EXAMPLES, ids=lambda path: path.stem)
def test_the_server_takes_every_object(server: ApiServer, values: Path) -> None:
    made = objects("--values", values)
    assert {(one["kind"], one["metadata"]["name"]): said for one in made if (said := server.would_apply(one))} == {}
    print(server.version, values.stem, dict(Counter(one["kind"] for one in made)))


def test_the_server_refuses_what_it_does_not_know(server: ApiServer) -> None:
    """What shows that the test above can fail."""
    settings, *_ = (one for one in objects() if one["kind"] == "Deployment")
    settings["spec"]["template"]["spec"]["containers"][0]["imagee"] = "misspelt"
    assert "imagee" in server.would_apply(settings)


@pytest.mark.parametrize("values", EXAMPLES, ids=lambda path: path.stem)
def test_helm_installs_and_upgrades_and_leaves_the_home(server: ApiServer, values: Path) -> None:
    name = values.stem
    for command in ("install", "upgrade"):
        with _Controller(server, f"{name}-init") as finished:
            _helm(server, command, name, CHART, "--values", values, "--timeout", "5m")
        assert finished.is_set(), "the job before it was waited for"
    kinds = Counter(one["kind"] for one in objects("--values", values))
    for api, kind in (("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("v1", "Service")):
        ours = [one for one in server.objects(api, kind) if one["metadata"]["name"].startswith(f"{name}-")]
        assert len(ours) == kinds[kind]
    _helm(server, "uninstall", name)
    left = {one["metadata"]["name"] for one in server.objects("v1", "PersistentVolumeClaim")}
    assert (name in left) == bool(kinds["PersistentVolumeClaim"])


class _Controller(threading.Thread):
    """Completes a job as soon as there is one, as the controller that this server lacks."""

    def __init__(self, server: ApiServer, job: str) -> None:
        super().__init__(daemon=True)
        self._server, self._job = server, job
        self._over, self._finished = threading.Event(), threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.2):
            if self._server.finish_job(self._job):
                self._finished.set()

    def __enter__(self) -> threading.Event:
        self.start()
        return self._finished

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def _helm(server: ApiServer, *command: object) -> None:
    line = [str(part) for part in (HELM, *command, *server.flags_of_helm)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
