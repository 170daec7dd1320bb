"""The `encore` command: every part of the system, together or alone."""

import errno
import logging
import os
import signal
import sys
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import msgspec
import typer

from data.clock import wall_clock
from data.errors import EncoreError, UnavailableError
from data.signals import stop_on_signals
from server.api_keys import Role, make_key
from server.cli.answers.receipts import late, replay, why
from server.cli.help.groups import Grouped
from server.cli.help.settings import list_settings
from server.cli.help.version import root
from server.cli.home.audit_log import audit_log
from server.cli.home.backup import backup, restore
from server.cli.home.changing import record_changes
from server.cli.importing import import_
from server.cli.init import init
from server.cli.kept.privacy import export_person, forget
from server.cli.kept.retention import retention
from server.cli.log import log
from server.cli.model import evaluate_live, model, monitor, retrain
from server.cli.operate.doctor import doctor
from server.cli.operate.watched import watched
from server.cli.produce import produce
from server.cli.rollout import rollout
from server.cli.terminal import (
    Json,
    asked_for_json,
    err,
    log_to_stderr,
    moment,
    out,
    print_failure,
    print_result,
    progress,
    settings_in_home,
    told_where_interrupted,
)
from server.cli.train import evaluate, train
from server.cli.uplift import uplift
from server.process.command import ExitCode, exit_code
from server.settings import read_settings

__all__ = ["app", "main"]

app = typer.Typer(
    name="encore",
    help="A streaming feature store: will this shopper buy this product again?",
    epilog="A project is a folder that `encore init` made. Settings come from the environment: `encore settings` lists "
    "them. Each command has --help, with an example.",
    no_args_is_help=True,
    cls=Grouped,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

app.callback()(root)
app.add_typer(model, name="model")
app.add_typer(log, name="log")
app.add_typer(rollout, name="rollout")
app.command(epilog="Example: encore evaluate --staleness 0s,1h,24h --report ages.json")(evaluate)
app.command("evaluate-live", epilog="Example: encore evaluate-live --target repeat_purchase --json")(evaluate_live)
app.command(epilog="Example: encore retrain --if-needed")(retrain)
app.command(epilog="Example: encore replay --last 1000")(replay)
app.command(epilog="Example: encore why 860d9523d0f84643-17 user_total_spend")(why)
app.command(epilog="Example: encore late --last 10000 --json")(late)
app.command(epilog="Example: encore uplift experiment.csv --map experiment.toml")(uplift)
app.command(epilog="Example: encore monitor --every 3600")(monitor)
app.command(epilog="Example: encore backup s3://bucket/encore --keep 14")(backup)
app.command(epilog="Example: encore restore s3://bucket/encore")(restore)
app.command("audit-log", epilog="Example: encore audit-log --last 50 --json")(audit_log)
app.command(epilog="Example: encore produce --mode file --input events.jsonl.gz --as-recorded --speedup 60")(produce)

Kafka = Annotated[
    Literal["apache", "tansu"] | None,
    typer.Option(help="Apache Kafka, or Tansu in memory. By default Tansu only where Kafka is missing."),
]


@app.command(epilog="Example: encore up --rate 500")
def up(  # noqa: PLR0917 - one per flag
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Live events per second, 0 for none; by default as many as in the shop's history."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Stream workers.")] = 1,
    ui: Annotated[bool, typer.Option(help="Start the Feast UI.")] = True,
    console: Annotated[bool, typer.Option(help="Start the console.")] = True,
    infra: Annotated[bool, typer.Option(help="Start the embedded broker and store.")] = True,
    kafka: Kafka = None,
    audit: Annotated[bool, typer.Option("--audit", help="Run `encore verify` on a few entities all the time.")] = False,
    build_only: Annotated[bool, typer.Option("--build-only", help="End when all that was missing is built.")] = False,
) -> None:
    """Build what is missing, start everything, and show how it goes until Ctrl-C."""
    from server.jobs.runner import Runner, RunOptions  # noqa: PLC0415 - each command imports what it needs

    stop = stop_on_signals()
    options = RunOptions(rate, workers, ui, console, infra, kafka, build_only, audit)
    Runner(settings_in_home("up"), options, out).run(stop.wait)


@app.command(epilog="Example: KAFKA_SERVERS=localhost:9192 REDIS_PORT=6479 encore infra")
def infra(kafka: Kafka = None) -> None:
    """Run only the embedded broker and store, until Ctrl-C."""
    from server.process.infra import infra_of  # noqa: PLC0415

    stop = stop_on_signals()
    broker, store = infra_of(settings_in_home("infra"), kafka, err.print)
    with store, broker:
        out.print(f"Kafka on {broker.servers}\nRedis on {store.host}:{store.port}")
        while not stop.wait(0.5):
            broker.check()
            store.check()


@app.command(epilog="Example: encore generate --users 5000 --days 180")
def generate(  # noqa: PLR0917 - one per flag
    users: Annotated[int, typer.Option(min=1)] = 2_000,
    products: Annotated[int, typer.Option(min=1)] = 400,
    days: Annotated[int, typer.Option(min=1)] = 120,
    events_per_day: Annotated[float, typer.Option(min=1)] = 2_100.0,
    seed: Annotated[int, typer.Option(min=0)] = 7,
    as_json: Json = False,
) -> None:
    """Write the history of a synthetic shop into the event log."""
    from data.shop.shop import ShopConfig  # noqa: PLC0415
    from server.jobs.build import generate_history  # noqa: PLC0415

    config = ShopConfig(wall_clock(), users, products, days, events_per_day, seed)
    with progress("generating", as_json) as tell:
        rows = generate_history(settings_in_home("generate"), config, tell)
    print_result(
        {"events": rows, **asdict(config)}, as_json, f"{rows:,} events of {users:,} users and {products:,} products"
    )


app.command(epilog="Example: encore forget user_id=u17")(forget)
app.command("export-person", epilog="Example: encore export-person user_id=u17 --output u17.json")(export_person)
app.command(epilog="Example: ENCORE_RETENTION=predictions=90d encore retention")(retention)
app.command("settings", epilog="Example: encore settings --json")(list_settings)
app.command(epilog="Example: encore init myshop --from orders.csv")(init)
app.command("import", epilog="Example: encore import orders-*.csv.gz --map orders.toml")(import_)


@app.command(epilog="Example: encore features --plan")
def features(
    only_plan: Annotated[
        bool,
        typer.Option("--plan", help="Only tell what a change of the definitions means for states, and their bytes."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compile the definitions and register their views with Feast."""
    from features.plan.cost import costs_in_words  # noqa: PLC0415
    from server.jobs.build import apply_features, plan_changes  # noqa: PLC0415
    from server.redis.ownership import claim_project  # noqa: PLC0415

    if only_plan:
        found, costs = plan_changes(read_settings())
        print_result(
            {"changes": [change._asdict() for change in found], "costs": [cost._asdict() for cost in costs]},
            as_json,
            "\n".join([*(map(str, found) if found else ["nothing is built yet"]), costs_in_words(costs)]),
        )
        return
    with progress("features", as_json) as tell:
        settings = settings_in_home("features")
        with suppress(UnavailableError):  # which project it is can wait for Redis
            settings = claim_project(settings, tell)
        plan = apply_features(settings, tell)
    counts = {entity.entity: len(entity.features) for entity in plan.entities} | {"request": len(plan.request)}
    print_result(
        {"plan": plan.hash, "features": plan.names},
        as_json,
        f"plan {plan.hash}: " + ", ".join(f"{count} {entity} features" for entity, count in counts.items()),
    )


app.command(epilog="Example: encore train --target cart_abandonment --model auto --report report.json")(train)


@app.command(epilog="Example: encore materialize")
def materialize(as_json: Json = False) -> None:
    """Fold the event log into states in Redis, through Feast."""
    from server.jobs.build import materialize as fold_log  # noqa: PLC0415

    with told_where_interrupted(), progress("materializing", as_json) as tell:
        counts = fold_log(settings_in_home("materialize"), tell)
    print_result(counts, as_json, ", ".join(f"{count:,} {entity} states" for entity, count in counts.items()))


@app.command(epilog="Example: encore rebuild")
def rebuild(as_json: Json = False) -> None:
    """Make every state in Redis anew from the event log, beside those that answer until then, and go away then."""
    from server.jobs.rollout.rollout import rebuild as fold_anew  # noqa: PLC0415

    with told_where_interrupted(), progress("rebuilding", as_json) as tell:
        counts = fold_anew(settings_in_home("rebuild"), tell)
    print_result(counts, as_json, ", ".join(f"{count:,} {entity} states" for entity, count in counts.items()))


@app.command(epilog="Example: encore stream --name worker-2")
def stream(
    name: Annotated[
        str, typer.Option(help="How `encore status` and Kafka's tools call it; one per worker.")
    ] = "worker-1",
    topic: Annotated[str | None, typer.Option(help="By default the project's.")] = None,
    group: Annotated[
        str | None,
        typer.Option(help="The Kafka consumer group, by default the project's: its members share the partitions."),
    ] = None,
) -> None:
    """Run one stream worker until Ctrl-C: Kafka events into states and the event log."""
    from server.jobs.stream import run_worker  # noqa: PLC0415
    from server.meters.stream import StreamMeters  # noqa: PLC0415

    settings, meters = settings_in_home("stream"), StreamMeters()
    log_to_stderr(settings)
    with watched(settings, "ENCORE_STREAM_PORT", settings.stream_port, meters):
        run_worker(settings, stop_on_signals(), name=name, topic=topic, group=group, told=meters.note)


@app.command(epilog="Example: encore translate orders.toml")
def translate(
    mapping: Annotated[Path, typer.Argument(help="A .toml file that says where events are in a topic's messages.")],
    name: Annotated[
        str, typer.Option(help="How Kafka's tools call it; one per process, and the same after a restart.")
    ] = "relay-1",
) -> None:
    """Pass a topic of another shape or order on as events, each once, until Ctrl-C."""
    from server.jobs.stream import run_relay  # noqa: PLC0415

    settings = settings_in_home("translate")
    log_to_stderr(settings)
    passed = run_relay(settings, mapping, stop_on_signals(), name=name)
    err.print(f"{passed.messages:,} messages: {passed.events:,} events, {passed.letters:,} dead letters")


@app.command(epilog="Example: encore export events.jsonl.gz")
def export(
    file: Annotated[Path, typer.Argument(help="A .jsonl or .jsonl.gz file to write.")], as_json: Json = False
) -> None:
    """Write the event log as lines of JSON, oldest first, which `encore produce --mode file` sends."""
    from server.jobs.export import export_log  # noqa: PLC0415

    settings = settings_in_home("export")
    with progress("exporting", as_json) as tell:
        rows = export_log(settings, file, tell)
    print_result({"events": rows, "file": str(file)}, as_json, f"{rows:,} events in {file}")


@app.command(epilog="Example: API_PORT=8080 encore serve --workers 2")
def serve(workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 1) -> None:
    """Run the API until Ctrl-C."""
    from server.api.serving import serve_api  # noqa: PLC0415

    serve_api(settings_in_home("serve"), workers)


@app.command(epilog="Example: encore key storefront --role score --until 2027-06-30")
def key(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    role: Annotated[
        Role, typer.Option(help="`score` asks for scores alone, `read` sees all, `operate` changes models.")
    ] = "read",
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day (UTC) on which it holds.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an API key: the secret for its bearer, and what ENCORE_API_KEYS keeps of it."""
    try:
        secret, kept = make_key(name, role, until.date() if until else None)
    except ValueError as error:
        raise typer.BadParameter("a name is 1 to 32 of a-z, 0-9, _ and -, and begins with a letter") from error
    print_result(
        {"secret": secret, "key": str(kept)}, as_json, f"secret (shown once): {secret}\nENCORE_API_KEYS={kept}"
    )


@app.command(epilog="Example: encore ui")
def ui() -> None:
    """Run the Feast UI until Ctrl-C."""
    from server.api.feast_ui import serve_feast_ui  # noqa: PLC0415

    serve_feast_ui(settings_in_home("ui"))


@app.command(epilog="Example: CONSOLE_PORT=8600 encore console")
def console() -> None:
    """Run the console, a web page to watch, ask, compare and decide, until Ctrl-C."""
    from server.console.launch import run_console  # noqa: PLC0415

    settings = settings_in_home("console")
    log_to_stderr(settings)
    run_console(settings)


@app.command("mlflow", epilog="Example: MLFLOW_PORT=5001 encore mlflow")
def mlflow_ui() -> None:
    """Run MLflow's own pages over the registered models, for this machine alone, until Ctrl-C."""
    from server.api.mlflow_ui import run_mlflow  # noqa: PLC0415

    run_mlflow(settings_in_home("mlflow"))


@app.command(epilog="Example: encore status --json")
def status(as_json: Json = False) -> None:
    """Show the system's status: traffic, lag, freshness, dead letters, model, requests."""
    from server.cli.view import status_view  # noqa: PLC0415
    from server.jobs.status import Observer  # noqa: PLC0415

    with closing(Observer(read_settings())) as observer:
        seen = observer.look()
    result = msgspec.to_builtins(seen) | {"folded": seen.folded, "rejected": seen.rejected}
    lacks = seen.produced is None or seen.newest_event_us is None or seen.api is None
    print_result(result, as_json, status_view(seen), ok=not lacks)


app.command(epilog="Example: encore doctor --json")(doctor)


@app.command(epilog="Example: encore verify --sample 50 --as-of 2026-11-21T12:00:00Z")
def verify(  # noqa: PLR0917 - one per flag
    sample: Annotated[int, typer.Option(min=1, help="Entities of each kind.")] = 20,
    as_of: Annotated[str | None, typer.Option(help="A time, RFC 3339; not before the newest event.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the entities.")] = 0,
    spark: Annotated[
        bool, typer.Option("--spark", help="Compare Spark too; needs the extra `spark` and Java.")
    ] = False,
    every: Annotated[
        float | None, typer.Option(min=1, help="Again and again, so many seconds apart; `encore status` shows it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute all features of some entities by oracle, batch, state and Feast; exit code 1 where they differ."""
    as_of_us = moment("--as-of", as_of, date=False)
    settings = settings_in_home("verify")
    from server.cli.view import verdict_view  # noqa: PLC0415
    from server.jobs.audit import run_audit  # noqa: PLC0415
    from server.jobs.verification import run_verification  # noqa: PLC0415

    if every is not None:
        if spark:
            raise typer.BadParameter("--spark compares once; leave out --every")
        log_to_stderr(settings)
        run_audit(settings, stop_on_signals(), every_s=every, sample=sample)
        return
    with progress("verifying", as_json) as tell:
        verdict = run_verification(settings, sample=sample, as_of_us=as_of_us, seed=seed, spark=spark, tell=tell)
    print_result(verdict._asdict() | {"ok": verdict.ok}, as_json, verdict_view(verdict), ok=verdict.ok)


@app.command(epilog="Example: encore clean --yes")
def clean(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    leave_redis: Annotated[
        bool, typer.Option("--leave-redis", help="Delete the home alone, where its Redis is gone for good.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Forget everything: delete the home with its history, features and models, and its states in Redis.

    It refuses while anything works in the home. Of a Redis of your own only the states and keys of this home's project
    are deleted; topics in a Kafka of your own are left, and so is the home's audit log.
    """
    from server.jobs.clean import clean_home, what_is_forgotten  # noqa: PLC0415

    settings = read_settings()
    found = what_is_forgotten(settings, leave_redis=leave_redis)
    if found.what and not yes:
        typer.confirm(f"Delete {' and '.join(found.what)}?", abort=True)
    print_result({"forgotten": found.what}, as_json, clean_home(settings, leave_redis=leave_redis))


record_changes(app)


def main() -> None:
    """Run the command line. Exit code 0, that of an error (`ExitCode`), or 130 for Ctrl-C.

    Where JSON was asked for, what went wrong is told as JSON as well.
    """
    os.umask(0o077)  # the home, and all files, are their owner's only: they hold what shoppers did
    # Featuretools, Feast and Ibis show their libraries' deprecations to our users, and reset warning filters when they
    # are imported: only the display can be suppressed.
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())
    logging.getLogger("py.warnings").propagate = False
    interrupts = _noted_interrupts()
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except SystemExit as end:
        # A prompt makes a plain end of Ctrl-C.
        raise SystemExit(_INTERRUPTED if interrupts and end.code else end.code) from None
    except Exception as error:
        if interrupts:  # DuckDB, for one, raises an error of its own for Ctrl-C
            sys.exit(_INTERRUPTED)
        match error:
            case EncoreError():
                told, code = "\n".join([str(error), *getattr(error, "__notes__", ())]), exit_code(error)
            case OSError(filename=str(name)):
                told, code = f"{name}: {error.strerror}; {_advice(error)}", ExitCode.FAILED
            case _:
                raise
        if asked_for_json(sys.argv):
            print_failure(error, told)
        err.print(f"encore: {told}", style="red")
        sys.exit(code)


_INTERRUPTED = 130


def _noted_interrupts() -> list[int]:
    """Return a list that gets an entry with each Ctrl-C, which interrupts as before."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody wants it ignored
        signal.signal(signal.SIGINT, note)
    return noted


def _advice(error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "make it writable for this user, or set ENCORE_HOME to another folder"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "free some space, and run this again"
    return "see that it is there and what it should be"
