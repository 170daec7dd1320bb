"""`encore replay`, `why`, `late`: answers that were given, computed again from the event log."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table

from data.units import from_micros
from server.cli.terminal import Json, print_result, progress, settings_in_home, words

if TYPE_CHECKING:
    from server.jobs.receipts.replay import StateRead
    from server.jobs.receipts.why import Cause, FeatureCauses, Since

__all__ = ["late", "replay", "why"]

_SHOWN = 10


def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="`prediction_id` of answers.", metavar="ID...")] = None,
    last: Annotated[int | None, typer.Option(min=1, max=100_000, help="The newest so many answers instead.")] = None,
    target: Annotated[str | None, typer.Option("--target", "-t", help="With --last: of this target alone.")] = None,
    as_json: Json = False,
) -> None:
    """Compute features and scores of answers again from the event log; exit code 1 where they are not the same.

    Each answer's receipt names its model, its definitions, and the events that each state held which it read.
    """
    if bool(ids) == (last is not None):
        raise typer.BadParameter("give the ids of answers, or --last N")
    from server.jobs.receipts.answered import find_answers, keep_new, newest_answers  # noqa: PLC0415
    from server.jobs.receipts.replay import replay as compute  # noqa: PLC0415 - it imports ONNX Runtime

    settings = settings_in_home("replay")
    with progress("replaying", as_json) as tell:
        if last is None:
            answers = find_answers(settings, ids or [], tell)
        else:
            keep_new(settings, tell)
            answers = newest_answers(settings, last, target)
        replays = compute(settings, answers, tell)
    different = [entry for entry in replays if not entry.same]
    same = sum(entry.same for entry in replays)
    summary = f"{same:,} of {len(replays):,} answers are the same to the last bit"
    parts = [words(summary, "green" if not different else "")]
    for entry in replays[:1] if len(replays) == 1 else different[:_SHOWN]:
        again = "cannot be computed" if entry.again is None else f"{entry.again!r} now"
        parts.append(words(f"{entry.id}: {entry.score!r} given at {from_micros(entry.at_us).isoformat()}, {again}"))
        parts.append(words(f"  {entry.target} {entry.model} (sha256 {entry.sha256[:12]}), plan {entry.plan}"))
        if len(replays) == 1:
            parts += [words(f"  {_read_words(state)}") for state in entry.read]
        if entry.note:
            parts.append(words(f"  {entry.note}", "yellow"))
        for name, (original, computed) in list(entry.differing.items())[:_SHOWN]:
            parts.append(words(f"  {name}: {original} given, {computed} now"))
    if len(different) > _SHOWN:
        parts.append(words(f"and {len(different) - _SHOWN:,} more that are not the same"))
    result = {"same": same, "answers": msgspec.to_builtins(replays)}
    print_result(result, as_json, Group(*parts), ok=not different)


def why(
    prediction: Annotated[str, typer.Argument(help="`prediction_id` of an answer.", metavar="ID")],
    feature: Annotated[str | None, typer.Argument(help="By default the five that counted most.")] = None,
    since: Annotated[
        str | None, typer.Option(help="An earlier answer about the same: tell what changed since.", metavar="ID")
    ] = None,
    as_json: Json = False,
) -> None:
    """Name the events that made a feature's value in an answer, and the value without each of them."""
    from server.jobs.receipts.answered import find_answers  # noqa: PLC0415
    from server.jobs.receipts.why import explain_answer  # noqa: PLC0415 - it imports ONNX Runtime

    settings = settings_in_home("why")
    with progress("why", as_json) as tell:
        answered, *earlier = find_answers(settings, [prediction, *([since] if since else [])], tell)
        explanation = explain_answer(settings, answered, tell, feature=feature, since=earlier[0] if earlier else None)
    about = " × ".join(filter(None, answered.named.values()))
    time = from_micros(answered.at_us).isoformat()
    head = words(f"{answered.target} of {about} at {time}: {answered.score:.4f}, by {answered.model}", "bold")
    parts: list[RenderableType] = [head]
    if explanation.answer.note:
        parts.append(words(explanation.answer.note, "yellow"))
    parts += [part for causes in explanation.features for part in _feature_view(causes)]
    if explanation.since is not None:
        parts += _since_view(explanation.since, answered.score)
    print_result(msgspec.to_builtins(explanation), as_json, Group(*parts))


def late(
    last: Annotated[int, typer.Option(min=1, max=100_000, help="Look at the newest so many answers.")] = 1_000,
    target: Annotated[str | None, typer.Option("--target", "-t", help="Of this target alone.")] = None,
    as_json: Json = False,
) -> None:
    """Find answers that events would have changed which came after them and were of before, and by how much."""
    from server.jobs.receipts.answered import keep_new, newest_answers  # noqa: PLC0415
    from server.jobs.receipts.late import find_late  # noqa: PLC0415 - it imports ONNX Runtime

    settings = settings_in_home("late")
    with progress("late", as_json) as tell:
        keep_new(settings, tell)
        impact = find_late(settings, newest_answers(settings, last, target), tell)
    parts: list[RenderableType] = [
        words(
            f"{impact.touched:,} of {impact.answers:,} answers had late events; {len(impact.changed):,} would have "
            f"another score, {impact.decided:,} of them another yes or no; the mean change over all is "
            f"{impact.mean_change:.2g}"
        )
    ]
    if impact.unclear:
        parts.append(words(f"{impact.unclear:,} cannot be computed again: `encore replay` says why", "yellow"))
    if impact.changed:
        table = Table("answer", "target", "asked at", "late events", "score", "would be")
        for changed in impact.changed[:_SHOWN]:
            scores = f"{changed.score:.4f}", words(f"{changed.would:.4f}", "red" if changed.decides else "")
            time = from_micros(changed.at_us).isoformat()
            table.add_row(changed.id, changed.target, time, f"{changed.events:,}", *scores)
        parts.append(table)
    result = msgspec.to_builtins(impact) | {"mean_change": impact.mean_change, "decided": impact.decided}
    print_result(result, as_json, Group(*parts))


def _read_words(state: "StateRead") -> str:
    if not state.topic and not state.offsets:
        return f"{state.entity}: no events, or of histories alone"
    offsets = ", ".join(f"{offset:,} of partition {partition}" for partition, offset in sorted(state.offsets.items()))
    return f"{state.entity}: events up to offset {offsets or 'none'}, topic {state.topic[:8]}"


def _feature_view(feature: "FeatureCauses") -> list[RenderableType]:
    share = f", {feature.contribution:+.3f} of the log-odds" if feature.contribution else ""
    parts: list[RenderableType] = [words(f"\n{feature.feature} = {feature.value}{share}: {feature.description}")]
    if not feature.causes:
        return [*parts, words("  no event made it", "dim")]
    table = Table("event", "of", "at", "partition, offset", "without it")
    for cause in feature.causes[:_SHOWN]:
        table.add_row(*_cells(cause), str(cause.without))
    more = len(feature.causes) - _SHOWN
    return [*parts, table, *([words(f"  and {more:,} more events", "dim")] if more > 0 else [])]


def _since_view(since: "Since", score: float) -> list[RenderableType]:
    parts: list[RenderableType] = [
        words(f"\nsince {since.id} the score went from {since.score:.4f} to {score:.4f}", "bold"),
        words(f"  model then {since.model}, plan {since.plan}"),
    ]
    changes = Table("feature", "then", "now", "by")
    for change in since.changes[: 2 * _SHOWN]:
        by = f"{change.events:,} events" if change.events else "time"
        changes.add_row(change.feature, str(change.before), str(change.after), by)
    events = Table("event", "of", "at", "partition, offset")
    for cause in since.events[:_SHOWN]:
        events.add_row(*_cells(cause))
    more = len(since.changes) - 2 * _SHOWN, len(since.events) - _SHOWN
    rest = [f"{count:,} more {kind}" for count, kind in zip(more, ("features", "events"), strict=True) if count > 0]
    tables = [table for table in (changes, events) if table.row_count]
    return [*parts, *tables, *([words(f"  and {' and '.join(rest)}", "dim")] if rest else [])]


def _cells(cause: "Cause") -> tuple[str, str, str, str]:
    return (
        f"{cause.event_type} {cause.event_id}",
        cause.entity,
        from_micros(cause.at_us).isoformat(),
        f"{cause.partition}, {cause.offset:,}",
    )
