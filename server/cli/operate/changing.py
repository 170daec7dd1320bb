"""Which commands change something, and so are recorded in the audit log."""

from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand

from server.settings import read_settings

__all__ = ["CHANGES", "Rule", "record_changes"]


class Rule(NamedTuple):
    """How a command is recorded: not if its flag `unless` makes it read-only; values of `personal` are hashed.

    `if_changed`: only if it changed something.
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
"""Commands that change a home or what answers from it, or copy all of it, by their names on the command line."""

_NOT_RECORDED = {"as_json", "yes"}


def record_changes(commands: typer.Typer, group: str = "") -> None:
    """Record the commands of `CHANGES` in the audit log."""
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

            parameters = _typed_parameters(ctx, rule)
            with recorded(
                read_settings(), f"encore {name}", parameters, if_changed=rule.if_changed, personal=bool(rule.personal)
            ):
                return super().invoke(ctx)

    return Changing


def _typed_parameters(ctx: Any, rule: Rule) -> dict[str, str]:
    """Return the parameters from the command line, without defaults."""
    from server.audit_log.changes import hashed  # noqa: PLC0415

    parameters = {}
    for name, value in ctx.params.items():
        source = ctx.get_parameter_source(name)
        if name in _NOT_RECORDED or source is None or source.name != "COMMANDLINE":
            continue
        values = value if isinstance(value, list | tuple) else [value]
        parameters[name] = " ".join(hashed(item) if name in rule.personal else str(item) for item in values)
    return parameters
