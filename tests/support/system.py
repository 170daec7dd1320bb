"""A whole system of a test's own: its home, its ports, and the `encore` command run in it."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import typer

from server.cli import main
from server.jobs.status import Observer, Status
from server.process.server_process import free_port
from server.settings import Settings

__all__ = ["System", "SystemHere", "interrupt"]


_OURS = ("API_", "ENCORE_", "FEAST_", "KAFKA_", "REDIS_")


def interrupt(child: "subprocess.Popen[bytes]") -> int:
    """Stop a child by Ctrl-C; its exit status. One that does not heed it is killed, so that no other test meets it."""
    child.send_signal(signal.SIGINT)
    try:
        return child.wait(120)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        raise


class System:
    """The settings of one system, and its commands as processes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.api_port = free_port()
        self.console_port = free_port()
        self.servers = f"127.0.0.1:{free_port()}"
        self._environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("ENCORE_", "REDIS_", "KAFKA_"))
            },
            "ENCORE_HOME": str(home),
            "KAFKA_SERVERS": self.servers,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(free_port()),
            "API_PORT": str(self.api_port),
            "FEAST_UI_PORT": str(free_port()),
            "CONSOLE_PORT": str(self.console_port),
        }

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its commands."""
        return dict(self._environment)

    def run(self, *command: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end; one that never ends is killed with its test, by the test's timeout."""
        return subprocess.run(
            [sys.executable, "-m", "server.cli", *command],
            env=self._environment | settings,
            capture_output=True,
            text=True,
            check=False,
        )

    def json(self, *command: str) -> Any:
        """The JSON that a command prints; it must succeed."""
        done = self.run(*command, "--json")
        assert done.returncode == 0, done.stderr + done.stdout[-3000:]
        return json.loads(done.stdout)

    def start(self, *command: str, output: Path, **settings: str) -> "subprocess.Popen[bytes]":
        """Start a command; what it prints goes to `output`."""
        with output.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "server.cli", *command],
                env=self._environment | settings,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )

    def look(self) -> Status:
        """The status of the system, as `encore status` would show it."""
        servers, redis_port = self._environment["KAFKA_SERVERS"], int(self._environment["REDIS_PORT"])
        settings = Settings(
            home=self.home, kafka_servers=servers, redis_port=redis_port, api_port=self.api_port, redis_host="127.0.0.1"
        )
        observer = Observer(settings)
        try:
            return observer.look()
        finally:
            observer.close()

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a GET to the API; 0 and the reason where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}{path}", timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")
        except OSError as error:
            return 0, str(error)


_command = cache(typer.main.get_command)
"""All commands, made once in a process as in one of theirs."""


class SystemHere(System):
    """A system whose commands run in the test's own process: as processes do, but for the second that importing takes.

    A command whose ports, signals, exit or libraries are what is tested wants a process, and so a `System`.
    """

    def run(self, *command: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        out, err, code = io.StringIO(), io.StringIO(), 0
        mask, interrupt = os.umask(0o022), signal.getsignal(signal.SIGINT)
        try:
            with (
                patch.dict(os.environ, self._environment | settings, clear=True),
                patch.object(sys, "argv", ["encore", *command]),
                patch.object(typer.main, "get_command", _command),
                redirect_stdout(out),
                redirect_stderr(err),
            ):
                main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        finally:
            os.umask(mask)
            signal.signal(signal.SIGINT, interrupt)
            logging.captureWarnings(False)
        return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())
