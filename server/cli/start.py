"""The `encore` command from its start to its exit code: an error is printed in one line, as text or as JSON."""

import errno
import io
import logging
import os
import signal
import sys
from contextlib import suppress
from types import FrameType

from data.errors import EncoreError
from server.cli.commands import app
from server.cli.terminal import asked_for_json, err, print_failure
from server.process.command import ExitCode, exit_code

__all__ = ["main"]


def main() -> None:
    """Run the command line. Exit code 0, that of an error (`ExitCode`), or 130 for Ctrl-C.

    If JSON was asked for, an error is printed as JSON as well.
    """
    os.umask(0o077)  # only their owner may read the home and all files: they hold shoppers' events
    # Featuretools, Feast and Ibis show their libraries' deprecations to our users, and reset warning filters when they
    # are imported: only the display can be suppressed.
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    logging.getLogger("py.warnings").propagate = False
    _escape_unencodable()
    interrupts = _noted_interrupts()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except SystemExit as end:
        # A prompt turns Ctrl-C into a plain exit.
        raise SystemExit(_INTERRUPTED if interrupts and end.code else end.code) from None
    except Exception as error:
        if interrupts:  # DuckDB, for one, raises an error of its own for Ctrl-C
            sys.exit(_INTERRUPTED)
        match error:
            case EncoreError():
                message, code = "\n".join([str(error), *getattr(error, "__notes__", ())]), exit_code(error)
            case OSError(filename=str(name)):
                message, code = f"{name}: {error.strerror}; {_advice(error)}", ExitCode.FAILED
            case OSError() if error.errno in _OF_THE_MACHINE:  # in a write, which names no file
                message, code = f"{error.strerror}; {_advice(error)}", ExitCode.FAILED
            case _:
                raise
        if asked_for_json(sys.argv):
            with suppress(OSError):  # the output may be what has failed
                print_failure(error, message)
        err.print(f"encore: {message}", style="red")
        if sys.stdout is not None:
            _discard_output()
        sys.exit(code)


_INTERRUPTED = 130

_OF_THE_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE})


def _escape_unencodable() -> None:
    """Print characters that the terminal's encoding lacks as escapes, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it is closed
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Drop unwritten output, which Python would try to write again at exit, with an error of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _noted_interrupts() -> list[int]:
    """Return a list that gets an entry with each Ctrl-C, which interrupts as before."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # otherwise the parent wants it ignored
        signal.signal(signal.SIGINT, note)
    return noted


def _advice(error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "make it writable for this user, or set ENCORE_HOME to another folder"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "free some space, and run this again"
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return "allow more (`ulimit -n 4096`), and run this again"
    return "see that it is there and what it should be"
