"""All commands, by the groups in which the help shows them (`server.cli.help.groups`)."""

import typer

from server.cli.ask.doctor import doctor
from server.cli.ask.plan import plan
from server.cli.ask.receipts import late, replay, why
from server.cli.ask.status import status, verify
from server.cli.build.features import features, materialize
from server.cli.build.history import export, generate
from server.cli.build.importing import import_
from server.cli.build.init import init
from server.cli.help.groups import Grouped
from server.cli.help.settings import list_settings
from server.cli.help.version import root
from server.cli.models.model import evaluate_live, model, monitor, retrain
from server.cli.models.train import evaluate, train
from server.cli.models.uplift import uplift
from server.cli.operate.audit_log import audit_log
from server.cli.operate.backup import backup, restore
from server.cli.operate.changing import record_changes
from server.cli.operate.clean import clean
from server.cli.operate.key import key
from server.cli.operate.log import log
from server.cli.operate.privacy import export_person, forget
from server.cli.operate.retention import retention
from server.cli.operate.rollout import rebuild, rollout
from server.cli.run.produce import produce
from server.cli.run.serve import console, mlflow_ui, serve, ui
from server.cli.run.stream import stream, translate
from server.cli.run.up import infra, up

__all__ = ["app"]

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

# build
app.command(epilog="Example: encore init myshop --from orders.csv")(init)
app.command("import", epilog="Example: encore import orders-*.csv.gz --map orders.toml")(import_)
app.command(epilog="Example: encore generate --users 5000 --days 180")(generate)
app.command(epilog="Example: encore features --plan")(features)
app.command(epilog="Example: encore materialize")(materialize)
app.command(epilog="Example: encore export events.jsonl.gz")(export)

# run
app.command(epilog="Example: encore up --rate 500")(up)
app.command(epilog="Example: KAFKA_SERVERS=localhost:9192 REDIS_PORT=6479 encore infra")(infra)
app.command(epilog="Example: encore stream --name worker-2")(stream)
app.command(epilog="Example: API_PORT=8080 encore serve --workers 2")(serve)
app.command(epilog="Example: encore monitor --every 3600")(monitor)
app.command(epilog="Example: encore produce --mode file --input events.jsonl.gz --as-recorded --speedup 60")(produce)
app.command(epilog="Example: encore translate orders.toml")(translate)
app.command(epilog="Example: CONSOLE_PORT=8600 encore console")(console)
app.command(epilog="Example: encore ui")(ui)
app.command("mlflow", epilog="Example: MLFLOW_PORT=5001 encore mlflow")(mlflow_ui)

# ask
app.command(epilog="Example: encore status --json")(status)
app.command(epilog="Example: encore verify --sample 50 --as-of 2026-11-21T12:00:00Z")(verify)
app.command(epilog="Example: encore doctor --json")(doctor)
app.command(epilog="Example: encore replay --last 1000")(replay)
app.command(epilog="Example: encore why 860d9523d0f84643-17 user_total_spend")(why)
app.command(epilog="Example: encore late --last 10000 --json")(late)
app.command(epilog="Example: encore plan --events-per-second 5000 --users 1e7 --requests-per-second 2000")(plan)
app.command("settings", epilog="Example: encore settings --json")(list_settings)

# models
app.command(epilog="Example: encore train --target cart_abandonment --model auto --report report.json")(train)
app.add_typer(model, name="model")
app.command(epilog="Example: encore evaluate --staleness 0s,1h,24h --report ages.json")(evaluate)
app.command("evaluate-live", epilog="Example: encore evaluate-live --target repeat_purchase --json")(evaluate_live)
app.command(epilog="Example: encore retrain --if-needed")(retrain)
app.command(epilog="Example: encore uplift experiment.csv --map experiment.toml")(uplift)

# operate
app.add_typer(rollout, name="rollout")
app.command(epilog="Example: encore rebuild")(rebuild)
app.add_typer(log, name="log")
app.command(epilog="Example: encore key storefront --role score --until 2027-06-30")(key)
app.command(epilog="Example: ENCORE_RETENTION=predictions=90d encore retention")(retention)
app.command(epilog="Example: encore forget user_id=u17")(forget)
app.command("export-person", epilog="Example: encore export-person user_id=u17 --output u17.json")(export_person)
app.command(epilog="Example: encore backup s3://bucket/encore --keep 14")(backup)
app.command(epilog="Example: encore restore s3://bucket/encore")(restore)
app.command("audit-log", epilog="Example: encore audit-log --last 50 --json")(audit_log)
app.command(epilog="Example: encore clean --yes")(clean)

record_changes(app)
