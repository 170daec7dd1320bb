"""The commands of the documents, page by page, typed as a reader types them into a clone with a small shop's system.

What a page tells to type is here, in another test, or not run, with the reason: nothing is left out in silence.
"""

import csv
import gzip
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from polling import poll_until
from shell import Shell
from shell_blocks import PAGES, ROOT, Block, blocks
from system import System

from data.shop.shop import Shop, ShopConfig
from server.process.kafka_broker import KafkaBroker
from server.process.server_process import free_port
from server.process.store import Store

ELSEWHERE = {
    ("docs/deploy.md", 1): "tests/e2e/test_containers.py",
    ("docs/deploy.md", 5): "tests/e2e/test_machines.py",
    ("docs/operations.md", 5): "tests/test_server/test_backup.py",
    ("docs/operations.md", 6): "tests/e2e/test_upgrade.py",
    ("docs/real-data.md", 2): "tests/test_data/test_importers.py",
    ("examples/from_feast/README.md", 1): "tests/test_examples.py",
    **{("docs/tutorial.md", place): "tests/e2e/test_tutorial.py" for place in range(1, 8)},
}
"""Blocks that another test runs."""

NOT_RUN = {
    ("README.md", 1): "`make` installs, and starts this test; tests/e2e/test_end_to_end.py runs `encore up`",
    ("docs/quickstart.md", 1): "`make` installs; tests/e2e/test_end_to_end.py runs `encore up`",
    ("docs/deploy.md", 2): "needs a container engine; the commands within are the tutorial's",
    ("docs/deploy.md", 3): "needs a Kubernetes; tests/test_server/test_chart.py renders the chart with such values",
    ("docs/real-data.md", 1): "installs from the network; tests/test_data/test_importers.py runs the program",
}
"""Blocks that nothing runs as they are, and why."""

INSTEAD = {
    "encore produce --rate 2000 --seconds 30": "encore produce --rate 500 --seconds 2",
    # It starts a Kafka and a Redis; here are some already.
    "encore --project myshop up": "encore --project myshop up --no-infra --build-only",
    # A minute on a quiet machine; tests/test_server/test_capacity.py does it in short.
    "encore plan --measure": "encore plan --help",
    # The addresses of this test's broker and store are set.
    "export KAFKA_SERVERS=kafka:9092 REDIS_HOST=redis": "export ENCORE_BEAT=",
    # Somebody at a terminal is asked.
    "encore forget user_id=u17": "yes | encore forget user_id=u17",
}
"""Commands in whose place another is typed, mostly to take less time."""

_ADD = "sed -i '/\"max_transaction_amount\": over/a\\        %s,' features/definitions.py"
GIVEN = {
    "docs/how-to/add-a-feature.md": [
        _ADD % '"min_transaction_amount": over("amount", primitives.Min, where=purchased)'
    ],
    "docs/operations.md": [_ADD % '"min_quantity": over("quantity", primitives.Min, where=purchased)'],
    "docs/how-to/read-the-log-elsewhere.md": [
        "mkdir -p ~/lake",
        'printf \'catalog:\n  lake:\n    type: sql\n    uri: "sqlite:///%s/lake/catalog.db"\n    '
        'warehouse: "file://%s/lake"\n\' ~ ~ > ~/.pyiceberg.yaml',
    ],
    "docs/how-to/from-a-managed-store.md": [
        "encore --project myshop clean --yes && rm -r myshop",  # the README's
        "python -c \"import duckdb; duckdb.sql(\\\"COPY 'orders.csv' TO 'events.parquet'\\\")\"",
    ],
    "docs/mappings.md": [
        "gzip --keep orders.csv && cp orders.csv.gz orders-2026.csv.gz",
        "printf 'order_id,sku\\no536365,tea\\n' > items.csv",
        "export ENCORE_HOME=.mapped",
    ],
}
"""What is typed before a page, which takes for granted that it was done."""

ENDLESS = re.compile(r"^(\w+=\S+ )*encore (stream|serve|infra|monitor)\b")

STORY = [
    *("README.md", "docs/quickstart.md", "docs/command-line.md", "docs/how-to/alert.md"),
    *("docs/how-to/train-and-promote.md", "docs/how-to/add-a-target.md", "docs/how-to/add-an-estimator.md"),
    *("examples/returns/README.md", "examples/tea_house/README.md", "examples/notebooks/README.md"),
    *("docs/how-to/add-a-feature.md", "docs/operations.md", "docs/how-to/upgrade-back-up-forget.md", "docs/models.md"),
    "docs/how-to/read-the-log-elsewhere.md",
    *("docs/how-to/from-a-managed-store.md", "docs/mappings.md", "docs/scale.md", "docs/deploy.md"),
    "docs/real-data.md",
]
"""The pages, in the order in which they are read: one system is behind all of them."""


def sorted_blocks() -> tuple[list[Block], list[Block]]:
    """Blocks that this file runs, and the others."""
    every = [block for page in PAGES for block in blocks(page)]
    others = [block for block in every if (block.page, block.place) in ELSEWHERE | NOT_RUN]
    return [block for block in every if block not in others], others


def test_every_block_is_run_or_says_why_not() -> None:
    here, others = sorted_blocks()
    assert len(here) + len(others) > 50
    assert {block.page for block in here} == set(STORY)
    assert {(block.page, block.place) for block in others} == set(ELSEWHERE | NOT_RUN)
    named = {file for text in NOT_RUN.values() for file in re.findall(r"tests/\S+\.py", text)}
    assert [file for file in {*ELSEWHERE.values(), *named} if not (ROOT / file).exists()] == []
    typed = [command for block in here for command in block.commands]
    assert [command for command in INSTEAD if command not in map(plain, typed)] == []


def plain(command: str) -> str:
    """A command without what it says of itself."""
    return re.sub(r" +# .*$", "", command)


class Reader:
    """Who types the pages, and what is asked of the reader's machine."""

    def __init__(self, clone: Path, system: System, servers: str, store: Store) -> None:
        self.clone = clone
        self.system = system
        # The home is where a clone has it.
        self.environment = {name: value for name, value in system.environment.items() if name != "ENCORE_HOME"}
        self.environment |= {
            "HOME": str(clone / "somebody"),
            "PYTHONPATH": str(clone),
            "KAFKA_SERVERS": servers,
            "REDIS_HOST": store.host,
            "REDIS_PORT": str(store.port),
        }
        self._answers: list[str] = []
        self.ports = {"8000": str(system.api_port), "8103": str(free_port())}

    def shell(self, name: str, **more: str) -> Shell:
        """Open a terminal in the clone."""
        (self.clone / "terminals" / name).mkdir(parents=True)
        shell = Shell(self.clone / "terminals" / name, self.environment | more)
        shell.type(f"cd '{self.clone}' && . .venv/bin/activate")
        return shell

    def typed(self, shell: Shell, command: str) -> str:
        """Type a command of a page, as it holds here; return what it printed."""
        command = plain(command)
        command = INSTEAD.get(command, command)
        for port, ours in self.ports.items():
            command = command.replace(f"localhost:{port}/", f"127.0.0.1:{ours}/").replace(f"={port} ", f"={ours} ")
        command = re.sub(r"(?<= )(?:/srv)?/backups\b", str(self.clone / "backups"), command)
        command = command.replace("user_id=u17", "user_id=u000017").replace("curl ", "curl -sS --fail ")
        if "curl" in command:
            url = re.findall(r"http://\S+|127\.0\.0\.1:\d+", command)[0]
            health = f"http://{url.removeprefix('http://').partition('/')[0]}/health"
            poll_until(lambda: shell.does(f"curl -sS --fail {health}"), 120, every_s=1.0)
        if ENDLESS.match(command) and not command.endswith("&"):
            command += " &"
        command = self._about_answers(shell, command) if "860d9523d0f84643" in command else command
        kept_elsewhere = command.endswith("&") or re.search(r" > \S+$", command)
        said = shell.type(command) if kept_elsewhere else shell.answer(command)
        assert "Traceback" not in said, said
        if "--json" in command:
            json.loads(said.splitlines()[-1])
        if " verify " in command and "--json" not in command:
            assert "agree" in said, said
        return said

    def _about_answers(self, shell: Shell, command: str) -> str:
        """A command about two answers of the page, the second later, with two of this system in their place."""
        if not self._answers:
            about = "/predict?user_id=u000018&product_id=p00042"
            self._answers = [str(self.system.get(about)[1]["prediction_id"]) for _ in range(2)]
            # The monitor keeps them within a quarter of a minute or so.
            poll_until(lambda: shell.does(f"encore replay {self._answers[1]}"), 300, every_s=2.0)
        first, second = self._answers
        return command.replace("860d9523d0f84643-17", second).replace("860d9523d0f84643-3", first)


@pytest.fixture(scope="module")
def reader(broker: KafkaBroker, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A clone, and a small shop's system that runs in it, with answers that are kept."""
    clone = tmp_path_factory.mktemp("clone")
    tracked = subprocess.run(
        ["git", "ls-files", "data", "events", "features", "feast", "model", "server", "examples", "tests"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in tracked:
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, clone / name)
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
    (clone / "somebody" / ".cache").mkdir(parents=True)
    (clone / "somebody" / ".cache" / "encore").symlink_to(
        Path.home() / ".cache" / "encore"
    )  # Kafka's jars, fetched once for all tests
    write_orders(clone / "orders.csv")
    repository = clone / "feast" / "feature_repo" / "feature_store.yaml"
    repository.write_text(repository.read_text().replace("port: 6379", f"port: {store.port}"))
    made = Reader(clone, System(clone / ".encore"), broker.servers, store)
    shell = made.shell("system")
    try:
        shell.type("encore generate --users 700 --products 360 --days 120 --events-per-day 240")
        shell.type("encore features && encore train --target purchase_intent --model logistic_regression")
        shell.type("encore train && encore materialize")
        shell.type("encore stream & encore serve & encore monitor &")
        yield made
    finally:
        shell.end()


@pytest.mark.pages
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("page", STORY)
def test_a_page_does_what_it_says(page: str, reader: Reader) -> None:
    own = {}
    if page == "docs/real-data.md":  # which starts a Kafka and a Redis
        write_online_retail(reader.clone / "online_retail.csv.gz")
        own = {name: str(free_port()) for name in ("API_PORT", "REDIS_PORT")}
        own["KAFKA_SERVERS"] = f"127.0.0.1:{free_port()}"
    if page == "docs/deploy.md":
        own = {"API_PORT": str(free_port())}
    shell = reader.shell(page.replace("/", "-"), **own)
    try:
        for line in GIVEN.get(page, []):
            shell.type(line)
        here, _ = sorted_blocks()
        for command in [command for block in here if block.page == page for command in block.commands]:
            reader.typed(shell, command)
    finally:
        shell.end()


def purchases() -> Iterator[tuple[int, int, int, int, str, float]]:
    """An invented shop's: number, user, product, how many, when, amount."""
    shop = Shop(ShopConfig(1_290_000_000_000_000, users=300, products=60, days=120, events_per_day=600))
    bought = (row for table in shop.history() for row in table.to_pylist() if row["event_type"] == "purchase")
    for number, row in enumerate(bought):
        user, product = int(row["user_id"][1:]), int(row["product_id"][1:])
        at = row["timestamp"].strftime("%Y-%m-%d %H:%M:%S")
        yield 536365 + number, user, product, row["quantity"], at, row["amount"]


def write_orders(path: Path) -> None:
    """What the README and a how-to take for the reader's own file."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("order_id", "customer_id", "product_id", "quantity", "ordered_at", "amount"))
        for number, user, product, many, at, amount in purchases():
            rows.writerow((f"o{number}", f"c{user:05}", f"p{product:04}", many, at, amount))


def write_online_retail(path: Path) -> None:
    """A file of the shape of UCI's."""
    with gzip.open(path, "wt", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(
            ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
        )
        for number, user, product, many, at, amount in purchases():
            rows.writerow((number, 20_000 + product, "a thing", many, at, amount, f"{user}.0", "France"))
