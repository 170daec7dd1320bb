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
        found = compute(settings, answers, tell)
    same, other = sum(one.same for one in found), [one for one in found if not one.same]
    shown = [words(f"{same:,} of {len(found):,} answers are the same to the last bit", "green" if not other else "")]
    for one in found[:1] if len(found) == 1 else other[:_SHOWN]:
        again = "cannot be computed" if one.again is None else f"{one.again!r} now"
        shown.append(words(f"{one.id}: {one.score!r} given at {from_micros(one.at_us).isoformat()}, {again}"))
        shown.append(words(f"  {one.target} {one.model} (sha256 {one.sha256[:12]}), plan {one.plan}"))
        if len(found) == 1:
            shown += [words(f"  {_read_words(state)}") for state in one.read]
        if one.note:
            shown.append(words(f"  {one.note}", "yellow"))
        for name, (given, computed) in list(one.differing.items())[:_SHOWN]:
            shown.append(words(f"  {name}: {given} given, {computed} now"))
    if len(other) > _SHOWN:
        shown.append(words(f"and {len(other) - _SHOWN:,} more that are not the same"))
    result = {"same": same, "answers": msgspec.to_builtins(found)}
    print_result(result, as_json, Group(*shown), ok=not other)


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
    with progress("looking", as_json) as tell:
        answered, *earlier = find_answers(settings, [prediction, *([since] if since else [])], tell)
        found = explain_answer(settings, answered, tell, feature=feature, since=earlier[0] if earlier else None)
    about = " × ".join(filter(None, answered.named.values()))
    at = from_micros(answered.at_us).isoformat()
    head = words(f"{answered.target} of {about} at {at}: {answered.score:.4f}, by {answered.model}", "bold")
    shown: list[RenderableType] = [head]
    if found.answer.note:
        shown.append(words(found.answer.note, "yellow"))
    shown += [part for one in found.features for part in _feature_view(one)]
    if found.since is not None:
        shown += _since_view(found.since, answered.score)
    print_result(msgspec.to_builtins(found), as_json, Group(*shown))


def late(
    last: Annotated[int, typer.Option(min=1, max=100_000, help="Look at the newest so many answers.")] = 1_000,
    target: Annotated[str | None, typer.Option("--target", "-t", help="Of this target alone.")] = None,
    as_json: Json = False,
) -> None:
    """Find answers that events would have changed which came after them and were of before, and by how much."""
    from server.jobs.receipts.answered import keep_new, newest_answers  # noqa: PLC0415
    from server.jobs.receipts.late import find_late  # noqa: PLC0415 - it imports ONNX Runtime

    settings = settings_in_home("late")
    with progress("looking", as_json) as tell:
        keep_new(settings, tell)
        found = find_late(settings, newest_answers(settings, last, target), tell)
    shown: list[RenderableType] = [
        words(
            f"{found.touched:,} of {found.answers:,} answers had late events; {len(found.changed):,} would have another"
            f" score, {found.decided:,} of them another yes or no; the mean change over all is {found.mean_change:.2g}"
        )
    ]
    if found.unclear:
        shown.append(words(f"{found.unclear:,} cannot be computed again: `encore replay` says why", "yellow"))
    if found.changed:
        table = Table("answer", "target", "asked at", "late events", "score", "would be")
        for one in found.changed[:_SHOWN]:
            scores = f"{one.score:.4f}", words(f"{one.would:.4f}", "red" if one.decides else "")
            table.add_row(one.id, one.target, from_micros(one.at_us).isoformat(), f"{one.events:,}", *scores)
        shown.append(table)
    result = msgspec.to_builtins(found) | {"mean_change": found.mean_change, "decided": found.decided}
    print_result(result, as_json, Group(*shown))


def _read_words(state: "StateRead") -> str:
    if not state.topic and not state.offsets:
        return f"{state.entity}: no events, or of histories alone"
    offsets = ", ".join(f"{offset:,} of partition {partition}" for partition, offset in sorted(state.offsets.items()))
    return f"{state.entity}: events up to offset {offsets or 'none'}, topic {state.topic[:8]}"


def _feature_view(found: "FeatureCauses") -> list[RenderableType]:
    share = f", {found.contribution:+.3f} of the log-odds" if found.contribution else ""
    shown: list[RenderableType] = [words(f"\n{found.feature} = {found.value}{share}: {found.description}")]
    if not found.causes:
        return [*shown, words("  no event made it", "dim")]
    table = Table("event", "of", "at", "partition, offset", "without it")
    for cause in found.causes[:_SHOWN]:
        table.add_row(*_told(cause), str(cause.without))
    more = len(found.causes) - _SHOWN
    return [*shown, table, *([words(f"  and {more:,} more events", "dim")] if more > 0 else [])]


def _since_view(found: "Since", score: float) -> list[RenderableType]:
    shown: list[RenderableType] = [
        words(f"\nsince {found.id} the score went from {found.score:.4f} to {score:.4f}", "bold"),
        words(f"  model then {found.model}, plan {found.plan}"),
    ]
    changes = Table("feature", "then", "now", "by")
    for change in found.changes[: 2 * _SHOWN]:
        by = f"{change.events:,} events" if change.events else "time"
        changes.add_row(change.feature, str(change.before), str(change.after), by)
    events = Table("event", "of", "at", "partition, offset")
    for cause in found.events[:_SHOWN]:
        events.add_row(*_told(cause))
    more = len(found.changes) - 2 * _SHOWN, len(found.events) - _SHOWN
    told = [f"{count:,} more {what}" for count, what in zip(more, ("features", "events"), strict=True) if count > 0]
    tables = [table for table in (changes, events) if table.row_count]
    return [*shown, *tables, *([words(f"  and {' and '.join(told)}", "dim")] if told else [])]


def _told(cause: "Cause") -> tuple[str, str, str, str]:
    return (
        f"{cause.event_type} {cause.event_id}",
        cause.entity,
        from_micros(cause.at_us).isoformat(),
        f"{cause.partition}, {cause.offset:,}",
    )
