"""Retraining, if there is a reason: the new version challenges the champion, and replaces it only if it is better."""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from data.clock import wall_clock
from data.errors import EncoreError, TrainingError
from data.units import from_micros
from model.artifact.metadata import Metadata
from model.artifact.predictor import Predictor
from model.evaluation.contest import Contest, hold_contest
from model.evaluation.drift import DRIFTED
from model.evaluation.threshold import ThresholdPolicy
from model.targets import target_named
from model.training.train import TrainOptions
from server.event_log import open_log
from server.jobs.build import Progress, train_version
from server.jobs.modelling import open_lifecycle
from server.jobs.quality import DriftReport, LiveReport, evaluate_live, write_report
from server.process.home import only_one
from server.settings import Settings

if TYPE_CHECKING:
    from model.registry.lifecycle import Lifecycle

__all__ = ["Retraining", "reasons_to_retrain", "retrain"]

GROWN = 0.10
"""Relative growth of the event log that is a reason to retrain."""

FALLEN = 0.05
"""Loss of live F1, against the test's, that is a reason to retrain."""

NEWS = 0.01
"""Relative growth of the event log below which training again would give the same model."""

SETTLED = 500
"""Fewest settled predictions for which a loss counts as a reason."""


class Retraining(msgspec.Struct, frozen=True, kw_only=True):
    """The course and result of a retraining.

    `reasons` are empty if it was requested unconditionally; `place` is the new version's role before the contest, in
    words; `note` says why nothing was trained despite the reasons, or why there was no contest.
    """

    target: str
    state: Literal["not needed", "running", "done", "failed"]
    started: datetime
    finished: datetime | None = None
    reasons: list[str] = []
    champion: str = ""
    challenger: str = ""
    contest: Contest | None = None
    promoted: bool = False
    place: str = ""
    note: str = ""
    error: str = ""


def retrain(
    settings: Settings, progress: Progress, target: str, *, if_needed: bool, max_rows: int = 100_000
) -> Retraining:
    """Train with the champion's options on the present data, and compare both on the newest period.

    With `if_needed`, only for a reason. The state is written to the home, where the API reads it. Raises as training
    does, and then keeps the champion.
    """
    target_named(target, settings.declared)
    with only_one(settings, f"retrain-{target}", f"retrains {target}"):
        report = Retraining(target=target, state="running", started=from_micros(wall_clock()))
        write_report(settings, f"retrain-{target}", report)
        try:
            report = _retrain(settings, progress, report, if_needed, max_rows)
        except BaseException as error:
            report = _ended(report, state="failed", error=str(error) or f"it was ended ({type(error).__name__})")
            raise
        finally:
            write_report(settings, f"retrain-{target}", report)
        return report


def reasons_to_retrain(champion: Metadata, events: int, live: LiveReport, drift: DriftReport) -> list[str]:
    """Return why the champion should be retrained; empty for no reason. `events` is the number in the log."""
    reasons = []
    before = champion.log_events
    if before and events >= before * (1 + GROWN):
        reasons.append(f"the event log grew by {events / before - 1:.0%}, from {before:,} events to {events:,}")
    test = champion.metrics["test"].f1 if "test" in champion.metrics else 0.0
    for model in live.models:
        scored = model.metrics
        if model.model != champion.version or model.role == "shadow" or scored is None or model.settled < SETTLED:
            continue
        if scored.f1 < test * (1 - FALLEN):
            reasons.append(
                f"the live F1 is {scored.f1:.3f} on {model.settled:,} predictions; it was {test:.3f} on test"
            )
    if drift.drifted and drift.model == champion.version:
        worst = ", ".join(f"{name} (PSI {drift.psi[name]:.2f})" for name in drift.drifted[:3])
        more = f" and {len(drift.drifted) - 3} more" if len(drift.drifted) > 3 else ""
        reasons.append(f"features drifted past a PSI of {DRIFTED}: {worst}{more}")
    return reasons


def _retrain(settings: Settings, progress: Progress, report: Retraining, if_needed: bool, max_rows: int) -> Retraining:
    target = report.target
    lifecycle = open_lifecycle(settings)
    champion = lifecycle.registry.load(target)
    report = msgspec.structs.replace(report, champion=champion.metadata.version)
    if if_needed:
        [live], [drift] = evaluate_live(settings, progress, target)
        events = open_log(settings).count()
        reasons = reasons_to_retrain(champion.metadata, events, live, drift)
        report = msgspec.structs.replace(report, reasons=reasons)
        if not reasons:
            return _ended(report, state="not needed")
        for reason in reasons:
            progress(reason)
        if note := _already_learned(lifecycle, target, events):
            progress(note)
            return _ended(report, state="not needed", note=note)
    question = champion.metadata.asked
    options = _as_before(champion.metadata)
    examples, artifact, version = train_version(settings, progress, target=question, options=options, max_rows=max_rows)
    place = lifecycle.introduce(version)
    report = msgspec.structs.replace(report, challenger=version.name, place=place)
    progress(f"{version.name} is {place}")
    progress("the challenger meets the champion on the newest period")
    contest, better, note = None, False, ""
    try:
        contest = hold_contest(examples, question, Predictor(champion), Predictor(artifact))
        better = contest.better
    except TrainingError as error:
        note = f"{error}; the champion stays"
    except EncoreError as error:  # a champion trained on other features cannot score
        better, note = True, f"{error}; the challenger takes its place"
    if note:
        progress(note)
    if better:
        lifecycle.promote(target, version.name)
    return _ended(report, state="done", contest=contest, promoted=better, note=note)


def _already_learned(lifecycle: "Lifecycle", target: str, events: int) -> str:
    """Return, in words, whether the newest version learned from this log already, in any role; empty if not."""
    newest = lifecycle.tracking.versions(target)[-1]
    learned = lifecycle.tracking.artifact(newest).metadata.log_events
    if not learned or events >= learned * (1 + NEWS):
        return ""
    return (
        f"{newest.name} was trained on this log already: it had {learned:,} events then and has {events:,} now; "
        "without --if-needed it is trained again"
    )


def _as_before(champion: Metadata) -> TrainOptions:
    """Return the options that the champion was trained with."""
    return TrainOptions(
        estimator=champion.estimator,
        parameters=champion.parameters,
        threshold=ThresholdPolicy.parse(champion.threshold_policy),
        seed=champion.seed,
        left_out=champion.left_out,
    )


def _ended(report: Retraining, **fields: Any) -> Retraining:
    return msgspec.structs.replace(report, finished=from_micros(wall_clock()), **fields)
