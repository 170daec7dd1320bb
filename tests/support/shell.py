"""A shell that is typed into, as a reader of the documents does."""

import os
import re
import signal
import subprocess
from pathlib import Path

from polling import poll_until

__all__ = ["Shell"]


class Shell:
    """One bash that is typed into, line by line, as a person would; what runs behind it ends with it."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._output = (folder / "shell.log").open("w+b")
        # What it reads is no standard input: a command that asks something must not take the next line for an answer.
        reads, writes = os.pipe()
        self._typed = os.fdopen(writes, "wb", buffering=0)
        self._shell = subprocess.Popen(
            ["bash", "--norc", f"/dev/fd/{reads}"],
            cwd=folder,
            env=environment,
            pass_fds=(reads,),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(reads)
        self._number = 0
        self.folder = folder

    def type(self, line: str, *, timeout_s: float = 600) -> str:
        """Type a line and wait for its end; return what it printed. It must succeed."""
        code, said = self._type(line, timeout_s)
        assert code == 0, f"{line}\nended with {code}\n{said}"
        return said

    def does(self, line: str) -> bool:
        """Type a line and wait for its end; return whether it succeeded."""
        return self._type(line, 60)[0] == 0

    def _type(self, line: str, timeout_s: float) -> tuple[int, str]:
        before = self.text()
        self._number += 1
        mark = f"--- {self._number} ended with "
        self._typed.write(f"{line}\necho '{mark}'$?\n".encode())
        ended = re.compile(rf"{mark}(\d+)\n")
        poll_until(lambda: ended.search(self.text()), timeout_s)
        said, code, _ = ended.split(self.text()[len(before) :], maxsplit=1)
        return int(code), said

    def answer(self, line: str) -> str:
        """Type a line; return what it printed, and nothing of what runs behind the shell."""
        answer = self.folder / "answer"
        self.type(f"{line} > {answer}")
        return answer.read_text()

    def text(self) -> str:
        self._output.flush()
        return Path(self._output.name).read_text(errors="replace")

    def end(self) -> None:
        os.killpg(self._shell.pid, signal.SIGTERM)
        self._shell.wait(60)
        self._typed.close()
        self._output.close()
