"""A real API server of Kubernetes: it checks and keeps objects, and nothing runs them.

The server is built by Go (`make test-kubernetes`), its store is etcd of Debian's package.
"""

import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from polling import poll_until

from server.process.child import stop_child
from server.process.server_process import free_port

__all__ = ["ApiServer", "api_server", "lack_of_server"]

_BUILT = Path(__file__).parents[2] / ".tools" / "bin"
_TOKEN = "only-of-this-test"


def lack_of_server() -> str:
    """What an API server lacks here, in words; empty where it can be started."""
    lacking = [name for name in ("kube-apiserver", "etcd", "helm") if _found(name) is None]
    return f"no {', '.join(lacking)} here; `make test-kubernetes` builds them with Go, on Debian" if lacking else ""


@dataclass(frozen=True)
class ApiServer:
    """A server that runs, asked as its master."""

    url: str
    client: httpx.Client
    version: str

    @property
    def flags_of_helm(self) -> tuple[str, ...]:
        """By which `helm` reaches it."""
        return ("--kube-apiserver", self.url, "--kube-token", _TOKEN, "--kube-insecure-skip-tls-verify")

    def create(self, path: str, made: Mapping[str, Any]) -> None:
        """Create an object below a path of the API."""
        self._said(self.client.post(path, json=made))

    def would_apply(self, made: Mapping[str, Any]) -> str:
        """Have the server apply an object without keeping it; return what it refuses or warns of, in its words."""
        path = f"{self._folder(made['apiVersion'], made['kind'])}/{made['metadata']['name']}"
        answer = self.client.patch(
            path,
            params={"dryRun": "All", "fieldManager": "encore", "fieldValidation": "Strict"},
            json=made,  # JSON is YAML
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        refused = "" if answer.is_success else answer.json()["message"]
        return "; ".join(filter(None, (refused, answer.headers.get("Warning"))))

    def objects(self, api: str, kind: str) -> list[dict[str, Any]]:
        """The objects of a kind in the namespace `default`."""
        items: list[dict[str, Any]] = self._said(self.client.get(self._folder(api, kind)))["items"]
        return items

    def finish_job(self, name: str) -> bool:
        """Say of a job, as a controller would, that it is complete; return whether there was one to finish."""
        path = f"/apis/batch/v1/namespaces/default/jobs/{name}"
        if not (found := self.client.get(path)).is_success or found.json().get("status", {}).get("completionTime"):
            return False
        now = found.json()["metadata"]["creationTimestamp"]
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("SuccessCriteriaMet", "Complete")
        ]
        status = {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": conditions}
        merge = {"Content-Type": "application/merge-patch+json"}
        self._said(self.client.patch(f"{path}/status", json={"status": status}, headers=merge))
        return True

    def _folder(self, api: str, kind: str) -> str:
        """Where the objects of a kind are."""
        base = f"/apis/{api}" if "/" in api else f"/api/{api}"
        resources = self._said(self.client.get(base))["resources"]
        (named,) = [one["name"] for one in resources if one["kind"] == kind and "/" not in one["name"]]
        return f"{base}/namespaces/default/{named}"

    @staticmethod
    def _said(answer: httpx.Response) -> Any:
        assert answer.is_success, answer.text
        return answer.json()


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """An API server with a store of its own; both end with the `with`, and leave nothing."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        subprocess.run(["openssl", "genrsa", "-out", folder / "key.pem", "2048"], check=True, capture_output=True)
        (folder / "tokens.csv").write_text(f'{_TOKEN},master,1,"system:masters"\n')
        store, peers, port = (free_port() for _ in range(3))
        etcd = [_found("etcd"), "--data-dir", folder / "etcd", "--log-level", "error"]
        for flag, at in (("client", store), ("peer", peers)):
            etcd += [f"--listen-{flag}-urls", f"http://127.0.0.1:{at}"]
        etcd += ["--advertise-client-urls", f"http://127.0.0.1:{store}"]
        server = [
            _found("kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{store}",
            f"--cert-dir={folder}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://localhost",
            f"--service-account-signing-key-file={folder / 'key.pem'}",
            f"--service-account-key-file={folder / 'key.pem'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
        ]
        with _running(etcd, folder / "etcd.log"), _running(server, folder / "server.log") as process:
            unchecked = ssl.create_default_context()
            unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
            url = f"https://127.0.0.1:{port}"
            with httpx.Client(
                base_url=url, headers={"Authorization": f"Bearer {_TOKEN}"}, verify=unchecked, timeout=60
            ) as client:

                def ready() -> bool:
                    assert process.poll() is None, (folder / "server.log").read_text()[-4000:]
                    try:
                        is_there = client.get("/api/v1/namespaces/default").is_success
                        return client.get("/readyz").is_success and is_there
                    except httpx.TransportError:
                        return False

                poll_until(ready, 280)
                yield ApiServer(url, client, client.get("/version").json()["gitVersion"])


@contextmanager
def _running(command: list[Any], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output)
    try:
        yield process
    finally:
        stop_child(process, 30)


def _found(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=str(_BUILT))
