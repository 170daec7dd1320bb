"""What commands and logs show: text from outside as text, whatever a terminal or Rich would make of it."""

import io
import logging
import shlex
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from rich.table import Table
from strange import IDS

from data.printable import printable
from events.stream.heartbeat import WorkerStatus
from features.verify.verification import Disagreement, Verdict
from server.cli.terminal import Terminal
from server.cli.view import question_line, status_line, status_view, verdict_view
from server.jobs.audit import Audit
from server.jobs.status import Status
from server.text_lines import TextLines

NOW_US = 1_772_366_400_000_000


def terminal() -> Terminal:
    return Terminal(file=io.StringIO(), width=20_000, force_terminal=True, color_system=None)


def shown_by(out: Terminal) -> str:
    file = out.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def a_status(text: str) -> Status:
    worker = {
        "worker": text,
        "at_us": NOW_US,
        "started_us": 1,
        "received": 10,
        "folded": 9,
        "rate": 1.5,
        "dead_letters": {text[:50]: 1},
        "conflicts": 0,
        "lag": {0: 3},
        "ends": {0: 12},
        "newest_event_us": 1,
        "last_letter": text,
    }
    return Status(
        at_us=NOW_US,
        home=f"/srv/{text[:50]}",
        urls={"API": f"http://{text[:50]}"},
        produced=10,
        dead_letters=1,
        workers=[msgspec.convert(worker, WorkerStatus)],
        lag=0,
        newest_event_us=NOW_US,
        logged_files=0,
        api={
            "model": {"version": text},
            "last_prediction": {"user_id": text, "product_id": text, "confidence": 0.5},
        },
        audit=Audit(NOW_US, 1, 1, 1, [text]),
        problems=[f"stream: {text}"],
    )


@pytest.mark.parametrize("text", IDS)
def test_a_status_shows_what_it_was_told(text: str) -> None:
    out = terminal()
    out.print(status_view(a_status(text), hint=f"curl {text[:50]}"))
    shown = shown_by(out)
    assert "\x1b" not in shown.replace("\x1b[0m", "")
    for part in (f"Encore  /srv/{printable(text[:50])}", f"stream: {printable(text)}", printable(text, 80)):
        assert part in shown
    line = status_line(a_status(text))
    assert line.isprintable()
    assert len(line) < 2_000


@pytest.mark.parametrize("text", IDS)
def test_a_verdict_shows_the_ids_that_it_is_about(text: str) -> None:
    wrong = Disagreement("user", (text,), "feature", "state", 1, 2)
    out = terminal()
    out.print(verdict_view(Verdict(NOW_US, 1, 0, 0, {"state": 1}, {"state": 0}, [wrong])))
    assert f"user {printable(text)}" in shown_by(out)


@pytest.mark.parametrize("text", IDS)
def test_every_way_to_print_a_text_prints_the_text(text: str) -> None:
    out = terminal()
    table = Table(text[:50], title=text)
    table.add_row(text)
    for what in (text, table):
        out.print(what)
    out.print(text, markup=True, emoji=True, highlight=True)
    shown = shown_by(out)
    expected = printable(text, lines=True)
    assert shown.count(expected.split("\n")[0]) >= 4
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize("text", [text for text in IDS if text.isprintable()])
def test_a_line_to_copy_asks_about_the_ids_and_runs_nothing_else(text: str) -> None:
    curl, url = shlex.split(question_line("http://127.0.0.1:8000", {"user_id": text, "product_id": "p"}))
    assert curl == "curl"
    assert parse_qs(urlsplit(url).query) == {"user_id": [text], "product_id": ["p"]}


@pytest.mark.parametrize("text", IDS)
def test_one_record_is_one_line(text: str) -> None:
    record = logging.LogRecord("encore", logging.INFO, __file__, 1, "%s is no prediction", (text,), None)
    line = TextLines().format(record)
    assert line.isprintable()
    assert line.endswith(f"INFO encore: {printable(text)} is no prediction")


def test_a_traceback_keeps_its_lines_and_loses_its_control_characters() -> None:
    try:
        raise ValueError("\x1b[2J")
    except ValueError as error:
        record = logging.LogRecord("encore", logging.ERROR, __file__, 1, "oh", (), (type(error), error, None))
    told = TextLines().format(record)
    assert told.splitlines()[-1] == "ValueError: \\x1b[2J"


def test_what_to_do_about_a_problem_is_not_cut_on_a_narrow_terminal() -> None:
    problem = "is away, and what to do about it comes last; start it with `encore serve`, or all with `encore up`"
    out = Terminal(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    out.print(status_view(a_status(problem)))
    shown = " ".join(line.strip("\u2502 ") for line in shown_by(out).splitlines())
    assert f"stream: {problem}" in shown
