"""`encore forget` and `encore export-person`: all data of one person, deleted or exported."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from data.atomic import write_whole
from data.log.person import Person
from server.cli.terminal import Json, out, print_result, progress, settings_in_home, told_where_interrupted

if TYPE_CHECKING:
    from server.jobs.privacy.receipt import Receipt

__all__ = ["export_person", "forget"]

_PERSON = typer.Argument(help="A key of the events and its value, such as user_id=u17.", metavar="KEY=VALUE")


def forget(
    person: Annotated[str, _PERSON],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    refuse_days: Annotated[
        int, typer.Option(min=0, max=36_500, help="Refuse what arrives of the person for so many days.")
    ] = 30,
    as_json: Json = False,
) -> None:
    """Forget a person: events, states, predictions, dead letters; refuse what arrives of them for a while.

    What cannot be removed is named: what Kafka's topics hold, with the time when it will be gone, and models that
    learned from the events. Where it was interrupted, run it again.
    """
    from server.audit_log.changes import note  # noqa: PLC0415
    from server.jobs.privacy.forget import forget as forget_person  # noqa: PLC0415 - each command imports what it needs

    settings = settings_in_home("forget")
    subject = Person.parse(person, settings.declared.schema)
    if not yes and not as_json:
        typer.confirm(f"Delete all that is known of {subject}? There is no way back", abort=True)
    with told_where_interrupted(), progress("forgetting", as_json) as tell:
        receipt = forget_person(settings, subject, tell, refused_days=refuse_days)
    # The audit log gets the amounts, not the person.
    note(events=receipt.events, states=sum(receipt.states.values()), predictions=receipt.predictions)
    print_result(msgspec.to_builtins(receipt), as_json, "\n".join(_lines(receipt)), ok=not _unfinished(receipt))


def export_person(
    person: Annotated[str, _PERSON],
    output: Annotated[Path | None, typer.Option(help="A file to write, by default the terminal.")] = None,
) -> None:
    """Give all that is known of a person as JSON: events, values of features, predictions, models that learned."""
    from server.jobs.privacy.known import export_person as known_of  # noqa: PLC0415

    settings = settings_in_home("export-person")
    subject = Person.parse(person, settings.declared.schema)
    text = json.dumps(known_of(settings, subject), ensure_ascii=False, indent=1)
    if output is None:
        typer.echo(text)
        return
    write_whole(output, f"{text}\n".encode())
    out.print(f"all that is known of {subject} in {output}")


def _unfinished(receipt: "Receipt") -> bool:
    """Return whether part of the system did not answer."""
    return any(line.startswith("topics: ") for line in receipt.left)


def _lines(receipt: "Receipt") -> list[str]:
    subject = " ".join(f"{key}={value}" for key, value in receipt.person.items())
    if not receipt.known:
        return [
            f"nothing is known of {subject}; what arrives is refused until {receipt.refused_until}",
            *(f"left: {line}" for line in receipt.left),
        ]
    states = ", ".join(f"{count:,} {entity}" for entity, count in receipt.states.items()) or "no"
    lines = [
        f"forgotten: {receipt.events:,} events in {receipt.log_files:,} files of the log, {states} states, "
        f"{receipt.predictions:,} predictions, {receipt.dead_letters:,} dead letters",
        f"what arrives of {subject} is refused until {receipt.refused_until}",
    ]
    if receipt.remade:
        lines.append("made anew without them: " + ", ".join(f"{n:,} {entity}" for entity, n in receipt.remade.items()))
    for model in receipt.models:
        drawn = "may have learned" if model.sampled else "learned"
        lines.append(f"the model {model.target} {model.version} {drawn} from them: train another, where that matters")
    for topic in receipt.topics:
        gone = f"until {topic.gone_by}, at the latest" if topic.gone_by else "for ever: its retention drops nothing"
        lines.append(f"Kafka keeps what the topic {topic.topic} holds {gone}")
    return [*lines, *(f"left: {line}" for line in receipt.left)]
