"""The first look: every command, by group, on one screen."""

import textwrap
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperGroup

__all__ = ["GROUPS", "Grouped"]

GROUPS: dict[str, tuple[str, Mapping[str, str]]] = {
    "build": (
        "a project, its history and features",
        {
            "init": "draft a project",
            "import": "files into the log",
            "generate": "a synthetic history",
            "features": "compile the definitions",
            "materialize": "states from the log",
            "export": "the log as JSON lines",
        },
    ),
    "run": (
        "all of it, or one part",
        {
            "up": "build and start all",
            "infra": "Kafka and Redis alone",
            "stream": "fold events into states",
            "serve": "the API",
            "monitor": "keep and judge answers",
            "produce": "send events",
            "translate": "relay another topic",
            "console": "pages to watch and ask",
            "ui": "Feast's pages",
            "mlflow": "MLflow's pages",
        },
    ),
    "ask": (
        "how it is, and whether it is true",
        {
            "status": "traffic, lag, freshness",
            "verify": "compare all paths",
            "doctor": "what is wrong here",
            "replay": "compute answers again",
            "why": "what made a value so",
            "late": "what came too late",
            "plan": "what a load needs",
            "settings": "all, with their meaning",
        },
    ),
    "models": (
        "train, try, promote, judge",
        {
            "train": "learn to answer",
            "model": "list, promote, roll back",
            "evaluate": "what freshness is worth",
            "evaluate-live": "judge live answers",
            "retrain": "anew, where needed",
            "uplift": "measure interventions",
        },
    ),
    "operate": (
        "change it, and keep it whole",
        {
            "rollout": "definitions go live",
            "rebuild": "make all states anew",
            "log": "whether it is whole",
            "key": "make an API key",
            "retention": "let go what is old",
            "forget": "let a person go",
            "export-person": "what is known of one",
            "backup": "copy the home",
            "restore": "bring a copy back",
            "audit-log": "who changed what",
            "clean": "forget everything",
        },
    ),
}
"""What each group of commands is for, and each command in few words. Commands that are not listed come last."""

_NAME, _CELL = 14, 39
"""Width of a command's name, and of name and description together."""


class Grouped(TyperGroup):
    """A group of commands whose help has as many columns of names and descriptions as the terminal has room for."""

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override] # Typer's is private
        """Write usage, commands by group, and options."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] COMMAND [ARGS]...")
        formatter.write(f"\n{self.help}\n")
        ungrouped = {
            name: command.get_short_help_str(_CELL - _NAME - 1)
            for name, command in self.commands.items()
            if not any(name in commands for _, commands in GROUPS.values())
        }
        columns = max(1, formatter.width // _CELL)
        for group, (meaning, commands) in GROUPS.items():
            formatter.write(f"\n{typer.style(group, bold=True)}: {meaning}\n")
            listed = {name: description for name, description in commands.items() if name in self.commands}
            listed |= ungrouped if group == [*GROUPS][-1] else {}
            cells = [f"{f'{name:<{_NAME}}{description}':<{_CELL}.{_CELL - 1}}" for name, description in listed.items()]
            rows = -(-len(cells) // columns)  # read downwards
            for row in range(rows):
                formatter.write(f"  {''.join(cells[row::rows])}".rstrip() + "\n")
        flags = [record[0] for parameter in self.get_params(ctx) if (record := parameter.get_help_record(ctx))]
        formatter.write("\n")
        text = f"Before a command: {', '.join(flags)}. {self.epilog}"
        formatter.write(textwrap.fill(text, formatter.width, break_on_hyphens=False) + "\n")
