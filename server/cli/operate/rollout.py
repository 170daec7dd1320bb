"""`encore rollout`: changed definitions, or the same states made again, go live without a cold answer."""

from typing import Annotated, Any

import msgspec
import typer

from server.cli.terminal import Json, print_result, progress, settings_in_home, told_where_interrupted
from server.process.child import stand_back
from server.settings import read_settings

__all__ = ["rebuild", "rollout"]

rollout = typer.Typer(
    no_args_is_help=True,
    help="Let changed definitions answer, without a cold answer.",
    epilog="Example: encore rollout start",
)


@rollout.command(epilog="Example: encore rollout start")
def start(
    finish: Annotated[bool, typer.Option("--finish", help="Delete the states before at once.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Make all states, though the definitions are the same.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Let models go that need features which are gone.")] = False,
    as_json: Json = False,
) -> None:
    """Make the states of the present definitions beside those that answer, and switch when they have caught up.

    What was interrupted goes on.
    """
    from server.jobs.rollout.rollout import roll_out  # noqa: PLC0415 - each command imports what it needs

    stand_back()
    with told_where_interrupted(), progress("rollout", as_json) as tell:
        outcome = roll_out(settings_in_home("rollout"), tell, anew=anew, finish=finish, force=force)
    if not outcome.made:
        text = f"plan {outcome.after} answers: its states are those that there were"
    else:
        counted = ", ".join(f"{count:,} {entity}" for entity, count in outcome.states.items())
        text = f"plan {outcome.after} answers, with {counted} states, after {outcome.seconds:.0f} s"
    if outcome.stage == "switched":
        text += "\nthe states before are kept: `encore rollout finish` deletes them, `encore rollout back` goes back"
    print_result(outcome._asdict(), as_json, text)


@rollout.command(epilog="Example: encore rollout status --json")
def status(as_json: Json = False) -> None:
    """Show how far a rollout is, and how long the present step will take."""
    from server.jobs.rollout.rollout import rollout_status  # noqa: PLC0415

    current = rollout_status(read_settings())
    result: dict[str, Any] = {
        "standing": msgspec.to_builtins(current.standing),
        "step": msgspec.to_builtins(current.step),
        "remaining_s": current.remaining_s,
        "interrupted": current.interrupted,
        "workers": {
            worker.worker: {"edition": worker.edition, "follows": worker.follows} for worker in current.workers
        },
    }
    standing, step = current.standing, current.step
    if standing is None:
        lines = ["there was no rollout yet"]
    else:
        lines = [f"plan {standing.live.plan} answers"]
        if standing.other is not None:
            lines.append(f"{standing.stage}: the other states are by plan {standing.other.plan}")
    if step is not None:
        share = f", {step.done:,} of {step.total:,}" if step.total else ""
        remaining = "" if current.remaining_s is None else f", about {current.remaining_s:.0f} s more"
        lines.append(f"now: {step.what}{share}{remaining}")
    if current.interrupted:
        lines.append("it was interrupted: `encore rollout start` goes on, `encore rollout back` gives it up")
    print_result(result, as_json, "\n".join(lines))


@rollout.command(epilog="Example: encore rollout finish")
def finish(as_json: Json = False) -> None:
    """Delete the states of the definitions before; there is no way back then."""
    from server.jobs.rollout.rollout import finish_rollout  # noqa: PLC0415

    stand_back()
    with told_where_interrupted(), progress("finishing", as_json) as tell:
        count = finish_rollout(settings_in_home("rollout"), tell)
    print_result({"deleted": count}, as_json, f"{count:,} states deleted")


@rollout.command(epilog="Example: encore rollout back")
def back(as_json: Json = False) -> None:
    """Let the definitions before answer again; before the switch, give the rollout up."""
    from server.jobs.rollout.rollout import go_back  # noqa: PLC0415

    with told_where_interrupted(), progress("going back", as_json) as tell:
        standing = go_back(settings_in_home("rollout"), tell)
    print_result(msgspec.to_builtins(standing), as_json, f"plan {standing.live.plan} answers")


def rebuild(as_json: Json = False) -> None:
    """Make every state in Redis anew from the event log, beside those that answer until then, and go away then."""
    from server.jobs.rollout.rollout import rebuild as fold_anew  # noqa: PLC0415

    stand_back()
    with told_where_interrupted(), progress("rebuilding", as_json) as tell:
        counts = fold_anew(settings_in_home("rebuild"), tell)
    print_result(counts, as_json, ", ".join(f"{count:,} {entity} states" for entity, count in counts.items()))
