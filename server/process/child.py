"""Child processes: they end when their parent does, no Ctrl-C of the terminal reaches them, some go behind others."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

__all__ = ["end_with_parent", "put_behind", "spawn", "stand_back", "stop_child"]

_LONG_WORK = 15
"""The priority (nice) of long work beside what answers."""

_BEHIND = 10
"""How far a server's child is behind it (nice): it is to end before long work, which it would slow down for longer."""

# Ask the kernel for SIGTERM when the parent dies, then become the server. It is a program and not a `preexec_fn`
# because Python code between fork and exec can deadlock where there are threads. The parent's process id tells whether
# it died before the request was made.
_TETHER = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def spawn(
    command: Sequence[str],
    output: IO[bytes],
    *,
    errors: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    keep: Sequence[int] = (),
) -> "subprocess.Popen[bytes]":
    """Start `command` in a session of its own, with its output written to `output`.

    Its errors go there too where `errors` is None. `environment` None inherits this process's. `keep` are file
    descriptors that the child inherits. On Linux the kernel ends the child with SIGTERM when the thread that called
    this ends.
    """
    if sys.platform == "linux":
        command = [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *command]
    return subprocess.Popen(  # noqa: S603 - the command is ours
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors or subprocess.STDOUT,
        cwd=folder,
        env=None if environment is None else dict(environment),
        start_new_session=True,
        pass_fds=tuple(keep),
    )


def end_with_parent() -> None:
    """On Linux, have the kernel end this process of `multiprocessing` with SIGTERM when its parent ends."""
    parent = multiprocessing.parent_process()
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if not parent.is_alive():  # it ended before the call above
        sys.exit(1)


def stand_back() -> None:
    """Lower the priority of this process: it does long work beside a live system, which goes first."""
    _lower(0, _LONG_WORK)


def put_behind(child: int, server: int) -> None:
    """Lower the priority of a server's child below its own, at whatever priority that was started."""
    _lower(child, os.getpriority(os.PRIO_PROCESS, server) + _BEHIND)


def _lower(pid: int, nice: int) -> None:
    os.setpriority(os.PRIO_PROCESS, pid, max(nice, os.getpriority(os.PRIO_PROCESS, pid)))


def stop_child(child: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """Terminate a child, kill it after `grace_s` seconds, and wait until it is gone."""
    child.terminate()
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
