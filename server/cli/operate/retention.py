"""`encore retention`: let go what is older than ENCORE_RETENTION says, and show how large what is kept is."""

import msgspec

from server.cli.terminal import Json, print_result, settings_in_home

__all__ = ["retention"]


def retention(as_json: Json = False) -> None:
    """Let go what is older than ENCORE_RETENTION says, and show how large things are and how they grow.

    The monitor does so every hour.
    """
    from server.audit_log.changes import note  # noqa: PLC0415
    from server.cli.view import sizes_in_words  # noqa: PLC0415
    from server.jobs.retention.apply import apply_retention  # noqa: PLC0415 - each command imports what it needs
    from server.jobs.retention.sizes import growth, samples  # noqa: PLC0415

    settings = settings_in_home("retention")
    done = apply_retention(settings)
    let_go = {"log": done.log.rows, "predictions": done.predictions.rows, "models": ", ".join(done.models)}
    note(**{f"{what} let go": count for what, count in let_go.items() if count})
    growing = growth(samples(settings))
    went = [
        f"{what}: {removed.rows:,} of {removed.files:,} files went"
        for what, removed in (("log", done.log), ("predictions", done.predictions))
        if removed.files
    ]
    went += [f"model {name} went" for name in done.models]
    lines = [*went, f"kept: {sizes_in_words(growing)}", *done.problems]
    told = {
        "log": done.log._asdict(),
        "predictions": done.predictions._asdict(),
        "dead_letters": done.dead_letters,
        "models": done.models,
        "kept": {one.what: {"bytes": one.bytes, "a_day": one.a_day} for one in growing},
        "sizes": msgspec.to_builtins(done.sizes),
        "problems": done.problems,
    }
    print_result(told, as_json, "\n".join(lines), ok=not done.problems)
