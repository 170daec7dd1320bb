"""The status and the verdict of a verification, for a terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table

from data.printable import printable
from data.units import MICROS, from_micros
from server.cli.terminal import words
from server.jobs.audit import Audit
from server.jobs.retention.sizes import Growing
from server.jobs.status import Status

if TYPE_CHECKING:
    from features.verify.verification import Verdict

__all__ = ["question_line", "sizes_in_words", "status_line", "status_view", "verdict_view"]


def status_view(status: Status, before: Status | None = None, *, hint: str = "") -> RenderableType:
    """Return the status as a panel; rates are those since `before`."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    for name, url in status.urls.items():
        table.add_row(name, words(url, "cyan"))
    table.add_row("", "")
    for name, value in _facts(status, before).items():
        table.add_row(name, value)
    parts: list[RenderableType] = [table]
    if status.problems:
        problems = words("\n".join(map(printable, status.problems)), "yellow")
        problems.no_wrap, problems.overflow = False, "fold"  # what to do comes last in a line, and would be cut
        parts.append(problems)
    if hint:
        parts.append(words(f"\n{hint}", "dim"))
    title = words(f"Encore  {printable(status.home)}")
    return Panel(Group(*parts), title=title, title_align="left", border_style="green")


def status_line(status: Status, before: Status | None = None) -> str:
    """Return the status in one line, where there is no terminal."""
    return "  ".join(f"{name} {value};" for name, value in _facts(status, before).items()).rstrip(";")


def question_line(api: str, named: Mapping[str, str]) -> str:
    """Return a curl command that asks the API about keys and labels, with their values escaped."""
    return f"curl '{api}/predict?{urlencode(named)}'"


def sizes_in_words(growing: Sequence[Growing]) -> str:
    """Return the sizes of stored data, and their growth per day, in words."""
    return ", ".join(
        f"{entry.what} {entry.bytes / 2**20:,.1f} MB" + (f" ({entry.a_day / 2**20:+,.1f} a day)" if entry.a_day else "")
        for entry in growing
        if entry.bytes
    )


def verdict_view(verdict: "Verdict", most: int = 10) -> RenderableType:
    """Return how many values agree by path, and the first that do not."""
    paths = Table("path", "values", "agree", title=f"as of {from_micros(verdict.at_us).isoformat()}")
    for path, compared in verdict.compared.items():
        paths.add_row(path, f"{compared:,}", f"{verdict.agreeing.get(path, 0):,}")
    text = f"{verdict.entities} entities compared"
    if verdict.beyond:
        text += f", {verdict.beyond} of them with batch alone: they have too many events for the oracle"
    if verdict.moved:
        text += f"; {verdict.moved} left out: they changed meanwhile, or the event log (written at intervals) lags"
    parts: list[RenderableType] = [paths, words(text)]
    if verdict.disagreements:
        wrong = Table("entity", "feature", "path", "oracle", "found", title="differences", style="red")
        for difference in verdict.disagreements[:most]:
            ids = " ".join(map(printable, difference.ids))
            texts = difference.feature, difference.path, str(difference.oracle), str(difference.other)
            wrong.add_row(f"{difference.entity} {ids}", *texts)
        parts.append(wrong)
    return Group(*parts)


def _facts(status: Status, before: Status | None) -> dict[str, str]:
    facts = {
        "events in": _with_rate(lambda look: look.produced, status, before),
        "folded": _with_rate(lambda look: look.folded, status, before),
        "workers": _workers(status),
        "lag": "unknown" if status.lag is None else f"{status.lag:,} messages",
        "newest event": _age(status),
        "dead letters": _letters(status),
        **({"sent again": f"{status.repeats:,}, not counted"} if status.repeats else {}),
        **({"refused": f"{status.suppressed:,}, of people who were forgotten"} if status.suppressed else {}),
        "requests": _with_rate(lambda look: (look.api or {}).get("requests"), status, before),
        "last prediction": _last_prediction(status.api),
        **({"log": status.log} if "://" in status.log else {}),
        "model": str(((status.api or {}).get("model") or {}).get("version") or "none"),
        **({"kept": sizes} if (sizes := sizes_in_words(status.kept)) else {}),
    } | ({"audit": _audit(status.audit)} if status.audit else {})
    # Ids, a dead letter's reason and what the API answers come from outside: each is one line.
    return {name: printable(fact, _LONGEST) for name, fact in facts.items()}


_LONGEST = 300

_PROTOCOLS = {"consumer": "KIP-848", "classic": "classic, cooperative-sticky"}


def _workers(status: Status) -> str:
    protocols = sorted({_PROTOCOLS.get(worker.membership.protocol, "joining") for worker in status.workers})
    return f"{len(status.workers)}" + (f" (group protocol {', '.join(protocols)})" if protocols else "")


def _with_rate(count_of: Callable[[Status], int | None], status: Status, before: Status | None) -> str:
    count, earlier = count_of(status), count_of(before) if before else None
    if count is None:
        return "unknown"
    if before is None or earlier is None or status.at_us <= before.at_us or count < earlier:
        return f"{count:,}"
    rate = (count - earlier) * MICROS / (status.at_us - before.at_us)
    return f"{count:,} ({rate:,.0f}/s)"


def _age(status: Status) -> str:
    if status.newest_event_us is None:
        return "none yet"
    age_s = (status.at_us - status.newest_event_us) / MICROS
    if age_s < -1:
        return f"{-age_s:.0f} s ahead of the clock"
    if age_s < 120:
        return f"{max(age_s, 0):.1f} s ago"
    return f"{from_micros(status.newest_event_us):%Y-%m-%d %H:%M} UTC"


def _letters(status: Status) -> str:
    if status.dead_letters is None:
        return "unknown"
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(status.rejected.items()))
    newest = next((worker.last_letter for worker in status.workers if worker.last_letter), "")
    return f"{status.dead_letters:,}" + (f" ({kinds}; last {printable(newest, 80)})" if kinds else "")


def _last_prediction(api: dict[str, Any] | None) -> str:
    newest = (api or {}).get("last_prediction")
    if not newest:
        return "none yet"
    named = [str(value) for name, value in newest.items() if name not in {"at", "confidence", "prediction"}]
    return f"{' × '.join(named)}: {newest['confidence']:.3f}"


def _audit(audit: Audit) -> str:
    result = f"{audit.differing} differ: {next(iter(audit.differences), '')}" if audit.differing else "all paths agree"
    return f"{audit.values:,} values of {audit.entities} entities at {from_micros(audit.at_us):%H:%M:%S}: {result}"
