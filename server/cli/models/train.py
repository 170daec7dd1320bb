"""`encore train`: a target, an estimator, the periods to learn from and to evaluate on, and the threshold's policy."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Group
from rich.table import Table

from data.atomic import write_whole
from data.errors import ConfigurationError
from data.units import DAY_US, HOUR_US, MICROS, MINUTE_US
from model.targets import TARGETS, first_target, target_named
from server.cli.terminal import Json, moment, print_result, progress, settings_in_home, words
from server.settings import read_settings

__all__ = ["evaluate", "train"]

_UNITS_US = {"s": MICROS, "m": MINUTE_US, "h": HOUR_US, "d": DAY_US}
_DATE = "a date (UTC), or a time with a zone"


def train(  # noqa: PLR0917 - one per flag
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", help=f"The question to answer, by default the first: {', '.join(TARGETS)}."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="random_forest, hist_gradient_boosting, logistic_regression, mlp, blend (forest and line), xgboost, "
            "lightgbm, or auto: the best of forest, blend, line and boosting by cross-validation over time.",
        ),
    ] = "auto",
    train_start: Annotated[str | None, typer.Option(help=f"Learn from questions asked from then on: {_DATE}.")] = None,
    train_end: Annotated[str | None, typer.Option(help="Learn from questions asked before.")] = None,
    test_start: Annotated[str | None, typer.Option(help="Evaluate on questions asked from then on.")] = None,
    test_end: Annotated[str | None, typer.Option(help="Evaluate on questions asked before.")] = None,
    horizon: Annotated[str | None, typer.Option(help="How long an answer may take: 30d, 24h, 90m.")] = None,
    next_session: Annotated[
        bool, typer.Option("--next-session", help="The answer must come in the user's next session.")
    ] = False,
    tune: Annotated[int, typer.Option(min=0, help="Try so many sets of parameters with Optuna.")] = 0,
    threshold: Annotated[
        str, typer.Option(help="f1, precision=0.6, recall=0.99, or costs of TN, FP, FN, TP: cost=0,1,5,0.")
    ] = "f1",
    report: Annotated[
        Path | None, typer.Option(help="Write the evaluation as FILE.json, with FILE.html and plots beside it.")
    ] = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make it champion at once, where there is a champion already.")
    ] = False,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(help="Do without a group of features, such as user.money (as the report names them); repeat it."),
    ] = None,
    max_rows: Annotated[int, typer.Option(min=1, help="Learn from at most so many examples.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Train a model on features from Feast, evaluate it on later examples, and let it challenge the champion."""
    from model.evaluation.threshold import ThresholdPolicy  # noqa: PLC0415
    from model.examples.split import Periods  # noqa: PLC0415 - each command imports what it needs

    declared = read_settings().declared
    question = target_named(target or first_target(declared), declared)
    if horizon is not None:
        question = replace(question, horizon_us=_duration("--horizon", horizon))
    if next_session:
        if question.rule != "follows":
            raise ConfigurationError(f"--next-session: {question.name} does not ask whether something follows")
        question = replace(question, rule="follows_in_next_session", meaning=f"{question.meaning} in the next session")
    periods = Periods(
        moment("--train-start", train_start),
        moment("--train-end", train_end),
        moment("--test-start", test_start),
        moment("--test-end", test_end),
    )
    policy = ThresholdPolicy.parse(threshold)

    if report is not None:
        _make_folder(report)

    from model.training.train import TrainOptions  # noqa: PLC0415 - it imports scikit-learn
    from server.jobs.build import train_model  # noqa: PLC0415

    options = TrainOptions(
        estimator=model, threshold=policy, periods=periods, tune=tune, seed=seed, left_out=tuple(leave_out or ())
    )
    with progress("training", as_json) as tell:
        metadata, place = train_model(
            settings_in_home("train"),
            tell,
            target=question,
            options=options,
            max_rows=max_rows,
            report=report,
            promote=promote,
        )
    test, base = metadata.metrics["test"], metadata.baselines["base_rate"]
    forest = metadata.baselines.get("random_forest")
    beside = f"\nA forest beside it: {forest.roc_auc:.3f} and {forest.pr_auc:.3f}." if forest else ""
    scores = ", ".join(f"{name} {value:.2f}" for name, value in metadata.choice.items())
    chosen = f"\nChosen by cross-validation over time (PR AUC, times that of chance): {scores}." if scores else ""
    idle = [group for group, falls in metadata.groups.items() if sum(falls) <= 0]
    unused = f"\nGroups of features that brought nothing over time: {', '.join(idle)}." if idle else ""
    decision = metadata.evaluation.decisions.get("later") if metadata.evaluation else None
    later = (
        f"\nAsked later: F1 {metadata.metrics['later'].f1:.3f} at this threshold, {decision.metrics.f1:.3f} at "
        f"{decision.threshold:.3f}, which such questions alone would choose."
        if decision
        else ""
    )
    print_result(
        msgspec.to_builtins(metadata) | {"place": place},
        as_json,
        f"{metadata.target} {metadata.version} ({metadata.estimator}): on {test.rows:,} later examples ROC AUC "
        f"{test.roc_auc:.3f}, PR AUC {test.pr_auc:.3f} (base rate {base.pr_auc:.3f}), calibration error "
        f"{test.ece:.3f}, F1 {test.f1:.3f} at {metadata.threshold:.3f}{later}{chosen}{beside}{unused}\nIt is {place}.",
    )


def evaluate(  # noqa: PLR0917 - one per flag
    staleness: Annotated[str, typer.Option(help="Ages of the features, such as 0s,1m,1h,24h.")] = "0s,1m,1h,24h",
    target: Annotated[str | None, typer.Option("--target", "-t", help="By default the project's first.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="A version's name, or an alias.")] = "champion",
    report: Annotated[
        Path | None, typer.Option(help="Write the metrics as FILE.json, and the plot as FILE.png.")
    ] = None,
    max_rows: Annotated[int, typer.Option(min=1, help="Ask at most so many questions.")] = 20_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Measure a model on the questions of its test as its features grow older: what freshness is worth."""
    from model.evaluation.staleness import age_words, draw_staleness  # noqa: PLC0415 - it imports scikit-learn
    from server.jobs.quality import measure_staleness  # noqa: PLC0415 - as above

    ages = [_duration("--staleness", text, least=0) for text in staleness.split(",")]
    if report is not None:
        _make_folder(report)
    with progress("evaluating", as_json) as tell:
        study = measure_staleness(
            settings_in_home("evaluate"), tell, ages, target=target, version=model, max_rows=max_rows, seed=seed
        )
    result = msgspec.to_builtins(study)
    if report is not None:
        write_whole(report, msgspec.json.format(msgspec.json.encode(study), indent=2))
        write_whole(report.with_suffix(".png"), draw_staleness(study))
    table = Table("features older by", "ROC AUC", "PR AUC", "lost of it", "F1", "calibration error")
    for age in study.ages:
        metrics, (low, high) = age.metrics, age.intervals["pr_auc"]
        lost = "" if "pr_auc" not in age.lost else "{:+.3f} to {:+.3f}".format(*age.lost["pr_auc"])
        table.add_row(
            age_words(age.age_us),
            "{:.3f} ({:.3f} to {:.3f})".format(metrics.roc_auc, *age.intervals["roc_auc"]),
            f"{metrics.pr_auc:.3f} ({low:.3f} to {high:.3f})",
            lost,
            f"{metrics.f1:.3f}",
            f"{metrics.ece:.3f}",
        )
    base = study.ages[0].metrics.base_rate
    head = words(f"{study.target} {study.model} on {study.questions:,} questions of its test, base rate {base:.3f}")
    print_result(result, as_json, Group(head, table))


def _make_folder(report: Path) -> None:
    """Refuse, before minutes of work, a report that could not be written after them."""
    if report.suffix != ".json":
        raise ConfigurationError(f"--report {report}: give the name of a .json file; the page and plots go beside it")
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        is_new = not report.exists()
        report.touch()
        if is_new:  # a training that fails leaves no empty report
            report.unlink()
    except OSError as error:
        raise ConfigurationError(f"--report {report}: {error.strerror}; name a file that can be written") from error


def _duration(flag: str, text: str, *, least: float = 1e-9) -> int:
    """Return microseconds of a number with a unit."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if not match or float(match[1]) < least:
        raise ConfigurationError(f"{flag} {text}: give a duration such as 30d, 24h or 90m")
    return round(float(match[1]) * _UNITS_US[match[2]])
