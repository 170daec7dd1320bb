"""Pages of reference, generated from the code, so that they are whole."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
import yaml

from data.default_shop import SHOP
from data.schema import Measure
from features.plan.describe import describe
from features.plan.plan import Feature, Plan
from server.cli import app
from server.cli.help.groups import GROUPS
from server.cli.help.settings import described
from server.settings import Settings

__all__ = ["metric_names", "reference"]

ROOT = Path(__file__).parents[2]


def reference(plan: Plan) -> dict[str, str]:
    """Return the generated pages by their path under docs/; `plan` is that of the package's own shop."""
    pages = {
        "settings": _settings(),
        "commands": _commands(),
        "events": _events(),
        "features": _features(plan),
        "metrics": _metrics(),
        "alerts": _alerts(),
        "routes": _routes(),
    }
    return {f"reference/{name}.md": text for name, text in pages.items()}


def _settings() -> str:
    """A table of all settings."""
    rows = []
    fields = {str(field.validation_alias): field for field in Settings.model_fields.values()}
    for one in described(Settings.model_construct()):
        kind = fields[one.variable].annotation
        choices = [str(choice) for choice in get_args(kind)] if get_origin(kind) is Literal else []
        meaning = one.meaning + (f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else "")
        rows.append((f"`{one.variable}`", f"`{one.default}`" if one.default else "", meaning))
    return (
        "# Settings\n\nThe environment decides everything; a project's `encore.toml` may set in `[settings]` what is "
        "no secret. A name that begins with `ENCORE_` and is not here is refused, a value that makes no sense too; a "
        "variable that is empty counts as not set. `encore settings` shows those that hold.\n\n"
        + _table(("variable", "default", "meaning"), rows)
    )


def _commands() -> str:
    """Every command with its arguments, flags and example, by group."""
    group = typer.main.get_group(app)
    parts = [
        "# Commands\n\nWhat they share (exit codes, JSON, completion): [the command line](../command-line.md). "
        "`encore --project FOLDER COMMAND` works for a project.\n"
    ]
    grouped = {name for _, commands in GROUPS.values() for name in commands}
    for title, (meaning, commands) in GROUPS.items():
        names = [name for name in commands if name in group.commands]
        if title == [*GROUPS][-1]:
            names += [name for name in group.commands if name not in grouped]
        parts.append(f"## {title.capitalize()}: {meaning}\n")
        for name in names:
            parts += _command(f"encore {name}", group.commands[name])
    return "\n".join(parts)


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"### {name}\n\n{_prose(command.help)}\n"
    if children := getattr(command, "commands", None):
        for child, one in children.items():
            yield from _command(f"{name} {child}", one)
        return
    rows = []
    for one in command.params:
        if one.name == "help":
            continue
        shown = " ".join(f"`{flag}`" for flag in (*one.opts, *one.secondary_opts))
        if one.param_type_name == "argument":
            shown = f"`{one.metavar or one.name.upper()}`"
        has_default = isinstance(one.default, str | int | float) and not isinstance(one.default, bool)
        choices = ", ".join(f"`{choice}`" for choice in getattr(one.type_descriptor, "choices", None) or ())
        words = _prose(" ".join(filter(None, (one.help, choices))))
        rows.append((shown, words, f"`{one.default}`" if has_default and one.default != "" else ""))
    if rows:
        yield _table(("", "", "default"), rows)
    if command.epilog:
        yield f"```sh\n{command.epilog.removeprefix('Example: ')}\n```\n"


def _events() -> str:
    """What an event of the default shop is."""
    rows = [("`event_id`", "text", "1 to 64 characters; the same again within a day counts once")]
    rows += [("`event_type`", "text", ", ".join(f"`{one.name}`" for one in SHOP.types))]
    rows += [("`timestamp`", "text", "when it happened, RFC 3339 with a zone")]
    rows += [(f"`{one}`", "text", "key: it names who or what") for one in SHOP.keys]
    rows += [(f"`{one}`", "text or absent", "label: up to 256 characters") for one in SHOP.labels]
    rows += [(f"`{one.name}`", "number", _measure(one)) for one in SHOP.measures]
    rows += [("`session_id`, `metadata`, `schema_version`", "", "optional: a text, an object, 1")]
    entities = [(f"`{one.name}`", ", ".join(f"`{key}`" for key in one.join_keys)) for one in SHOP.entities]
    return (
        "# Events\n\nAn event is a JSON object, one a message, whose key is its "
        f"`{SHOP.ordered_by}`. These are the columns of the package's own shop; [a project](../tutorial.md) declares "
        "its own ([declaring the rest](../features.md#declaring-the-rest)). What breaks a rule becomes a dead letter "
        "([limits](../limits.md)).\n\n"
        + _table(("column", "is", "holds"), rows)
        + "\nFeatures are of these entities:\n\n"
        + _table(("entity", "named by"), entities)
    )


def _measure(one: Measure) -> str:
    return f"measure: {one.decimals} decimals, {one.least:g} to {one.most:g}"


def _features(plan: Plan) -> str:
    """Every feature with its formula in words."""
    groups: list[tuple[str, tuple[Feature, ...]]] = [(one.entity, tuple(one.features)) for one in plan.entities]
    groups.append(("request", tuple(plan.request)))
    count = sum(len(features) for _, features in groups)
    parts = [
        f"# Features\n\nThe {count} features of the package's own shop, from "
        "[features/definitions.py](../../features/definitions.py). Each is true at the moment of asking. How windows, "
        "orders and the like are meant: [the rules](../features.md#the-rules).\n"
    ]
    for entity, features in groups:
        parts.append(f"## {entity}\n")
        rows = [(f"`{one.name}`", one.type, _prose(describe(one, SHOP))) for one in features]
        parts.append(_table(("feature", "type", "is"), rows))
    return "\n".join(parts)


def metric_names() -> dict[str, tuple[str, str]]:
    """Return every metric that the code names (`encore_...`), with what it says and the file that makes it."""
    found: dict[str, tuple[str, str]] = {}
    for package in ("data", "features", "events", "model", "server"):
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            texts = {
                target.id: node.value.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            for node in ast.walk(tree):
                if not isinstance(node, ast.Call | ast.Tuple):
                    continue
                parts = node.args if isinstance(node, ast.Call) else node.elts
                match parts:
                    case [ast.Constant(str(name)), told, *_] if re.fullmatch(r"encore_[a-z_]+", name):
                        words = told.value if isinstance(told, ast.Constant) else texts.get(ast.unparse(told), "")
                        found[name] = (str(words), str(path.relative_to(ROOT)))
    return found


def _metrics() -> str:
    """Every metric."""
    rows = [(f"`{name}`", _prose(words), f"`{file}`") for name, (words, file) in sorted(metric_names().items())]
    return (
        "# Metrics\n\nFor Prometheus; the API's are at `GET /metrics`, where a counter's name ends with `_total`. "
        "What to be woken for: [alerts](../how-to/alert.md).\n\n" + _table(("metric", "says", "made in"), rows)
    )


def _alerts() -> str:
    """Every alert with what it means and what to do."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    rows = [
        (f"`{rule['alert']}`", f"`{rule['expr']}`", *map(_prose, rule["annotations"].values()))
        for group in rules["groups"]
        for rule in group["rules"]
    ]
    return (
        "# Alerts\n\nFrom [alerts.yml](../../deploy/prometheus/alerts.yml). How to have them: "
        "[be alerted](../how-to/alert.md).\n\n" + _table(("alert", "fires at", "means", "what to do"), rows)
    )


def _routes() -> str:
    """Every route of the API, from its OpenAPI document."""
    from server.api.app import create_app  # noqa: PLC0415 - it imports the whole server

    rows = []
    for path, methods in create_app(Settings.model_construct()).openapi()["paths"].items():
        for method, one in methods.items():
            words = _prose((one.get("description") or one.get("summary") or "").split("\n\n")[0])
            rows.append((f"`{method.upper()} {path}`", words, ", ".join(sorted(one.get("responses", {})))))
    return (
        "# Routes\n\nFrom the OpenAPI document that `GET /openapi.json` gives and `/docs` shows. What is asked, "
        "answered and refused, with examples: [the API](../api.md).\n\n" + _table(("route", "does", "answers"), rows)
    )


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _prose(text: str) -> str:
    """Return a text in one line, with nothing in it that Markdown takes for markup."""
    return re.sub(r"(?<!`)([<>*_])(?![^`]*`)", r"\\\1", " ".join(text.split()))
