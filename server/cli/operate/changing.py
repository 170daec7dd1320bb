"""Which commands change something, and so are recorded in the audit log whoever runs them."""

from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand

from server.settings import read_settings

__all__ = ["CHANGES", "Rule", "record_changes"]


class Rule(NamedTuple):
    """How a command is recorded: not with the flag `unless`, by which it only looks; with `personal` values hashed.

    `if_changed`: only where it changed something.
    """

    unless: str = ""
    personal: tuple[str, ...] = ()
    if_changed: bool = False


CHANGES = {
    "backup": Rule(),
    "clean": Rule(),
    "features": Rule(unless="only_plan"),
    "forget": Rule(personal=("person",)),
    "generate": Rule(),
    "import": Rule(unless="propose"),
    "key": Rule(),
    "log accept-loss": Rule(),
    "log iceberg": Rule(if_changed=True),
    "log partials": Rule(if_changed=True),
    "materialize": Rule(),
    "model follow": Rule(if_changed=True),
    "model promote": Rule(),
    "model rollback": Rule(),
    "model withdraw": Rule(),
    "rebuild": Rule(),
    "restore": Rule(unless="only_list"),
    "retention": Rule(if_changed=True),
    "retrain": Rule(),
    "rollout back": Rule(),
    "rollout finish": Rule(),
    "rollout start": Rule(),
    "train": Rule(),
    "uplift": Rule(unless="example"),
}
"""Those that change a home, or what answers from it, or copy all of it, by their names on the command line."""

_SAYS_NOTHING = {"as_json", "yes"}


def record_changes(commands: typer.Typer, group: str = "") -> None:
    """Have the commands of `CHANGES` recorded."""
    for command in commands.registered_commands:
        assert command.callback is not None  # noqa: S101 - a command is a function
        name = f"{group}{command.name or command.callback.__name__}"
        if name in CHANGES:
            command.cls = _changing(name, CHANGES[name])
    for inner in commands.registered_groups:
        assert inner.typer_instance is not None  # noqa: S101
        record_changes(inner.typer_instance, f"{inner.name} ")


def _changing(name: str, rule: Rule) -> type[TyperCommand]:
    class Changing(TyperCommand):
        """A command that the audit log names."""

        def invoke(self, ctx: Any) -> Any:
            """Run it, and record that."""
            if ctx.params.get(rule.unless):
                return super().invoke(ctx)
            from server.audit_log.changes import recorded  # noqa: PLC0415 - each command imports what it needs

            given = _given(ctx, rule)
            with recorded(
                read_settings(), f"encore {name}", given, if_changed=rule.if_changed, personal=bool(rule.personal)
            ):
                return super().invoke(ctx)

    return Changing


def _given(ctx: Any, rule: Rule) -> dict[str, str]:
    """What was typed: whatever is not by default."""
    from server.audit_log.changes import hashed  # noqa: PLC0415

    given = {}
    for name, value in ctx.params.items():
        source = ctx.get_parameter_source(name)
        if name in _SAYS_NOTHING or source is None or source.name != "COMMANDLINE":
            continue
        values = value if isinstance(value, list | tuple) else [value]
        given[name] = " ".join(hashed(one) if name in rule.personal else str(one) for one in values)
    return given
