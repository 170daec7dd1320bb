"""The flags before a command: `--version` (version, commit, and the plan that states follow), and `--project`."""

from pathlib import Path
from typing import Annotated

import typer

from server.cli.terminal import out

__all__ = ["root"]


def _show(is_requested: bool) -> None:
    if not is_requested:
        return
    from features.plan.cache import kept_plan  # noqa: PLC0415
    from server.settings import read_settings  # noqa: PLC0415
    from server.version import this_version  # noqa: PLC0415

    this, plan = this_version(), kept_plan(read_settings().plan)
    commit = this.commit or "unknown"
    out.print(f"encore {this.version}, commit {commit}, " + (f"plan {plan.hash}" if plan else "no plan yet"))
    raise typer.Exit


_Version = Annotated[
    bool, typer.Option("--version", callback=_show, is_eager=True, help="Show version, commit and plan, and end.")
]


def _choose(folder: Path | None) -> Path | None:
    """Set the project of this process, and of those that it starts, to the one in a folder."""
    if folder is not None:
        from data.project import open_project  # noqa: PLC0415 - each command imports what it needs
        from server.settings import hand_on  # noqa: PLC0415

        open_project(folder)  # raises at once if it is faulty
        hand_on({"ENCORE_PROJECT": str(folder.absolute())})
    return folder


_Project = Annotated[
    Path | None,
    typer.Option(
        "--project",
        metavar="FOLDER",
        callback=_choose,
        is_eager=True,
        help="The project to work for, a folder that `encore init` made; else what ENCORE_PROJECT says.",
    ),
]


def root(version: _Version = False, project: _Project = None) -> None:
    """Take the flags that come before a command."""
