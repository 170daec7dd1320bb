"""`encore model ...`: the versions of models, their metrics, and which of them answers."""

import signal
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from data.signals import stop_on_signals
from model.targets import first_target
from server.cli.run.watched import watched
from server.cli.terminal import Json, log_to_stderr, print_result, progress, settings_in_home
from server.jobs.modelling import compare_versions, describe, follow_registry, list_versions, open_lifecycle
from server.settings import Settings, read_settings

if TYPE_CHECKING:
    from model.registry.version import ModelVersion

__all__ = ["evaluate_live", "model", "monitor", "retrain"]

model = typer.Typer(
    help="Versions of models: list, show, compare, promote, roll back.",
    epilog="Example: encore model promote 3",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_TARGET = typer.Option("--target", "-t", help="The question that the model answers; by default the project's first.")
_Target = Annotated[str | None, _TARGET]
_Version = Annotated[str, typer.Argument(help="A version's number or name, or an alias.")]


def _target_name(settings: Settings, target: str | None) -> str:
    return target or first_target(settings.declared)


@model.command("list", epilog="Example: encore model list --target repeat_purchase --json")
def list_(target: Annotated[str | None, _TARGET] = None, as_json: Json = False) -> None:
    """List versions, oldest first, with their aliases and test metrics."""
    versions = list_versions(read_settings(), target)
    lines = [_line(version) for version in versions]
    print_result([_plain(version) for version in versions], as_json, "\n".join(lines) or _NOTHING)


_NOTHING = "no model yet; run `encore train`"


@model.command(epilog="Example: encore model show champion --json")
def show(version: _Version = "champion", target: _Target = None, as_json: Json = False) -> None:
    """Show a version: its origin, inputs, metrics and baselines."""
    settings = read_settings()
    described, details = describe(settings, _target_name(settings, target), version)
    texts = (f"  {name:<18} {value}" for name, value in details.items() if isinstance(value, str | int))
    lines = [_line(described), *texts]
    lines += (f"  {name:<18} {_numbers(metrics)}" for name, metrics in details["metrics"].items())
    lines += (f"  {name:<18} {_numbers(metrics)}" for name, metrics in details["baselines"].items())
    print_result(_plain(described) | {"model": details}, as_json, "\n".join(lines))


@model.command(epilog="Example: encore model promote 3 --as challenger --share 0.1")
def promote(
    version: _Version,
    target: _Target = None,
    alias: Annotated[Literal["champion", "challenger"], typer.Option("--as")] = "champion",
    share: Annotated[
        float, typer.Option(min=0, max=1, help="challenger: the share of users whom it answers; 0: in the shadow.")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Make a version the champion, which answers, or the challenger, which is tried beside it."""
    if share and alias == "champion":
        raise typer.BadParameter("--share goes with --as challenger")
    settings = read_settings()
    change = open_lifecycle(settings).promote(_target_name(settings, target), version, alias, share=share)
    print_result(change._asdict(), as_json, str(change))


@model.command(epilog="Example: encore model rollback --target repeat_purchase")
def rollback(target: _Target = None, as_json: Json = False) -> None:
    """Make the previous champion champion again."""
    settings = read_settings()
    change = open_lifecycle(settings).roll_back(_target_name(settings, target))
    print_result(change._asdict(), as_json, str(change))


@model.command(epilog="Example: encore model withdraw --target repeat_purchase")
def withdraw(target: _Target = None, as_json: Json = False) -> None:
    """End the challenger's trial."""
    settings = read_settings()
    change = open_lifecycle(settings).withdraw(_target_name(settings, target))
    print_result(change._asdict(), as_json, str(change))


@model.command(epilog="Example: encore model compare champion challenger")
def compare(first: _Version, second: _Version, target: _Target = None, as_json: Json = False) -> None:
    """Compare two versions by their test metrics."""
    settings = read_settings()
    metrics = compare_versions(settings, _target_name(settings, target), first, second)
    (first_name, a), (second_name, b) = metrics.items()
    lines = [f"{'':<44} {first_name:>22} {second_name:>22}"]
    lines += (f"{name:<44} {_cell(a.get(name)):>22} {_cell(b.get(name)):>22}" for name in dict.fromkeys([*a, *b]))
    print_result(metrics, as_json, "\n".join(lines))


@model.command(epilog="Example: encore model follow --once")
def follow(
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False, as_json: Json = False
) -> None:
    """Publish to the server what was promoted elsewhere, as in MLflow's own UI, until Ctrl-C."""
    settings = settings_in_home("model follow")
    log_to_stderr(settings)
    changes = follow_registry(settings, None if once else stop_on_signals())
    lines = "\n".join(map(str, changes)) or "what is published says what MLflow says"
    print_result([change._asdict() for change in changes], as_json, lines)


def evaluate_live(
    target: Annotated[str | None, typer.Option("--target", "-t", help="By default every one that has a model.")] = None,
    as_json: Json = False,
) -> None:
    """Evaluate predictions against outcomes, and compare their features with those that the champion learned from."""
    from server.jobs.quality import evaluate_live as evaluate  # noqa: PLC0415 - it imports scikit-learn

    with progress("judging", as_json) as tell:
        live, drift = evaluate(settings_in_home("evaluate-live"), tell, target)
    lines = []
    for quality, shift in zip(live, drift, strict=True):
        lines.append(f"{quality.target}: {sum(entry.predictions for entry in quality.models):,} predictions kept")
        for entry in quality.models:
            metrics = {} if entry.metrics is None else msgspec.to_builtins(entry.metrics)
            numbers = _numbers({name: metrics[name] for name in ("roc_auc", "pr_auc", "f1", "ece") if name in metrics})
            verdict = numbers or "too few to judge"
            lines.append(f"  {entry.model} as {entry.role:<10} {entry.settled:>8,} settled  {verdict}")
        worst = ", ".join(f"{name} {value:.2f}" for name, value in list(shift.psi.items())[:3])
        lines.append(f"  drift (PSI, {shift.rows:,} rows): {shift.note or worst}")
    result = {"live": msgspec.to_builtins(live), "drift": msgspec.to_builtins(drift)}
    print_result(result, as_json, "\n".join(lines) or _NOTHING)


def retrain(
    target: _Target = None,
    if_needed: Annotated[
        bool, typer.Option("--if-needed", help="Only if the log grew, the live F1 fell, or features drifted.")
    ] = False,
    max_rows: Annotated[int, typer.Option(min=1, help="Learn from at most so many examples.")] = 100_000,
    as_json: Json = False,
) -> None:
    """Train again as the champion was trained; the result replaces it only if it is better on the newest period."""
    from server.jobs.retraining import retrain as train_anew  # noqa: PLC0415 - it imports scikit-learn

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that its report says that it was interrupted
    settings = settings_in_home("retrain")
    with progress("retraining", as_json) as tell:
        outcome = train_anew(settings, tell, _target_name(settings, target), if_needed=if_needed, max_rows=max_rows)
    if outcome.state == "not needed":
        reason = f"not retrained: {outcome.note}" if outcome.note else "no reason to retrain"
        lines = [*outcome.reasons, f"{outcome.target}: {reason}; {outcome.champion} stays"]
    else:
        lines = [*outcome.reasons, f"{outcome.target}: {outcome.challenger} challenges {outcome.champion}"]
        if (contest := outcome.contest) is not None:
            champion, challenger, (low, high) = contest.champion, contest.challenger, contest.lead
            lines.append(
                f"on the newest period PR AUC {challenger.pr_auc:.3f} against {champion.pr_auc:.3f}: "
                f"a lead of {low:+.3f} to {high:+.3f} (95 %)"
            )
        lines += [outcome.note] if outcome.note else []
        lines.append(
            "it is champion now"
            if outcome.promoted
            else f"it is {outcome.place}"
            if outcome.note
            else f"it is not better; it is {outcome.place}"
        )
    print_result(msgspec.to_builtins(outcome), as_json, "\n".join(lines))


def monitor(
    judge_s: Annotated[float, typer.Option("--every", min=1, help="Seconds between looks at live quality.")] = 600.0,
) -> None:
    """Store predictions, publish MLflow's changes, and evaluate live quality periodically, until Ctrl-C."""
    from model.registry.local_database import local_database  # noqa: PLC0415 - each command imports what it needs
    from server.jobs.monitor import Monitor  # noqa: PLC0415
    from server.meters.monitor import MonitorMeters  # noqa: PLC0415
    from server.meters.past import Keeper  # noqa: PLC0415
    from server.meters.system import SystemMeters  # noqa: PLC0415

    settings = settings_in_home("monitor")
    log_to_stderr(settings)
    system = SystemMeters(settings)
    with closing(Keeper(settings, system)) as keeper:
        watch = Monitor(settings, local_database(settings.tracking_uri), judge_s=judge_s, note=keeper)
        with watched(settings, "ENCORE_MONITOR_PORT", settings.monitor_port, MonitorMeters(watch), system):
            watch.run(stop_on_signals())


def _plain(version: "ModelVersion") -> dict[str, Any]:
    return asdict(version) | {"created": version.created.isoformat()}


def _line(version: "ModelVersion") -> str:
    metrics = {name: version.metrics.get(f"test.{name}") for name in ("roc_auc", "pr_auc", "f1")}
    return (
        f"{version.target:<18} {version.number:>3}  {version.name}  {_numbers(metrics)}  {', '.join(version.aliases)}"
    ).rstrip()


def _numbers(metrics: Any) -> str:
    numbers = metrics.items() if isinstance(metrics, dict) else ()
    return "  ".join(f"{name} {value:.3f}" for name, value in numbers if isinstance(value, float))


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-" if value is None else str(value)
