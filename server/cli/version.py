"""The flag `--version`: version, commit, and the plan that the home's states follow."""

from typing import Annotated

import typer

from server.cli.terminal import out

__all__ = ["root"]


def _tell(asked: bool) -> None:
    if not asked:
        return
    from features.plan.cache import kept_plan  # noqa: PLC0415
    from server.settings import read_settings  # noqa: PLC0415
    from server.version import this_version  # noqa: PLC0415

    this, plan = this_version(), kept_plan(read_settings().plan)
    commit = this.commit or "unknown"
    out.print(f"encore {this.version}, commit {commit}, " + (f"plan {plan.hash}" if plan else "no plan yet"))
    raise typer.Exit


_Version = Annotated[
    bool, typer.Option("--version", callback=_tell, is_eager=True, help="Show version, commit and plan, and end.")
]


def root(version: _Version = False) -> None:
    """Take the flags that come before a command."""
