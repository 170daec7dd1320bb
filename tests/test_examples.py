"""Examples run as they are, and do what they say."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path
from types import ModuleType

import notebooks
import pytest

from data.log.event_log import EventLog
from data.shop.shop import Shop, ShopConfig
from server.process.server_process import free_port
from server.settings import read_settings

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(folder: str, name: str) -> ModuleType:
    spec = util.spec_from_file_location(name, EXAMPLES / folder / f"{name}.py")
    assert spec
    assert spec.loader
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_a_test_of_every_example() -> None:
    """That of the tea house is the tutorial's."""
    folders = {path.parent.name for path in EXAMPLES.glob("*/README.md")}
    assert folders == {"tea_house", "returns", "from_feast", "notebooks"}
    listed = (EXAMPLES / "README.md").read_text()
    assert [name for name in folders if f"({name}/README.md)" not in listed] == []


@pytest.mark.long
@pytest.mark.integration  # it trains a model
def test_a_question_of_ones_own_is_answered_better_than_by_the_base_rate(home: Path) -> None:
    settings = read_settings(home=home)
    shop = Shop(ShopConfig(1_760_000_000_000_000, users=800, products=150, days=120, events_per_day=800))
    EventLog(settings.log).write_history("shop", shop.history())
    known = example("returns", "will_return").main(settings)
    test = known.metrics["test"]
    assert (known.target, known.meaning) == ("will_return", "the user sends the product back")
    assert 0.02 < test.base_rate < 0.12
    assert test.roc_auc > 0.65
    assert test.pr_auc > 1.5 * test.base_rate
    assert test.precision_at_5pct > 2 * test.base_rate
    returns = [name for name in list(known.importances)[:12] if "return" in name or "net_spend" in name]
    assert returns, known.importances


@pytest.mark.system  # each trains models, for half a minute on a busy machine
@pytest.mark.parametrize("notebook", sorted(EXAMPLES.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_prints_what_it_shows(notebook: Path) -> None:
    runner = Path(notebooks.__file__)
    command = [sys.executable, "-W", "ignore", str(runner), str(notebook)]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    kept = [notebooks.output_of(cell) for cell in notebooks.code_cells(json.loads(notebook.read_text()))]
    assert json.loads(done.stdout) == kept
    assert all(kept), "each cell shows something"


@pytest.mark.system
def test_a_plain_feast_repository_moves_and_its_values_stay(tmp_path: Path) -> None:
    """The commands of the example's page, as they are typed; it prints what the page says."""
    folder = tmp_path / "from_feast"
    shutil.copytree(EXAMPLES / "from_feast", folder, ignore=shutil.ignore_patterns("shop", "data", "*.csv"))
    page = (folder / "README.md").read_text()
    (commands,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ENCORE_", "REDIS_"))}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}", "PYTHONWARNINGS": "ignore"}
    # No Redis is needed, and none that happens to run is asked.
    environment |= {"REDIS_PORT": str(free_port())}
    typed = subprocess.run(
        ["bash", "-ec", commands], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert typed.returncode == 0, typed.stderr
    assert typed.stdout.endswith(shown)
