"""`encore doctor`: whether a deployment is well, and what to do where it is not."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from server.cli.terminal import Json, err, print_result, progress, words

if TYPE_CHECKING:
    from server.doctor.finding import Finding

__all__ = ["doctor"]

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(
    sample: Annotated[
        int, typer.Option(min=0, help="Entities of each kind whose features are compared on all paths; 0: none.")
    ] = 3,
    as_json: Json = False,
) -> None:
    """Look whether settings, machine, Redis, Kafka, workers, log, registry, models and values are well.

    It changes nothing. Exit code 1 where something fails; warnings alone are 0.
    """
    from server.doctor.doctor import examine  # noqa: PLC0415 - each command imports what it needs

    findings: list[Finding] = []
    with progress("doctor", as_json or not err.is_terminal) as tell:
        for finding in examine(sample):
            findings.append(finding)
            tell(finding.about)
    counts: Counter[str] = Counter(finding.level for finding in findings)
    ok = not counts["fail"]
    rows = [finding._asdict() for finding in findings]
    result = {"ok": ok, "counts": {level: counts[level] for level in _STYLES}, "findings": rows}
    print_result(result, as_json, _view(findings, counts), ok=ok)


def _view(findings: "list[Finding]", counts: "Counter[str]") -> RenderableType:
    table = Table("", "what", "found", "what to do")
    for finding in findings:
        table.add_row(words(finding.level, _STYLES[finding.level]), finding.about, finding.found, finding.advice)
    summed = ", ".join(f"{counts[level]} {level}" for level in _STYLES)
    return Group(table, words(summed, "red" if counts["fail"] else "yellow" if counts["warn"] else "green"))
