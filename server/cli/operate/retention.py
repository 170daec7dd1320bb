"""`encore retention`: delete what is older than ENCORE_RETENTION allows, and show the sizes of what is kept."""

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
    report = apply_retention(settings)
    let_go = {"log": report.log.rows, "predictions": report.predictions.rows, "models": ", ".join(report.models)}
    note(**{f"{kind} let go": count for kind, count in let_go.items() if count})
    growing = growth(samples(settings))
    went = [
        f"{kind}: {removed.rows:,} of {removed.files:,} files went"
        for kind, removed in (("log", report.log), ("predictions", report.predictions))
        if removed.files
    ]
    went += [f"model {name} went" for name in report.models]
    lines = [*went, f"kept: {sizes_in_words(growing)}", *report.problems]
    result = {
        "log": report.log._asdict(),
        "predictions": report.predictions._asdict(),
        "dead_letters": report.dead_letters,
        "models": report.models,
        "kept": {size.what: {"bytes": size.bytes, "a_day": size.a_day} for size in growing},
        "sizes": msgspec.to_builtins(report.sizes),
        "problems": report.problems,
    }
    print_result(result, as_json, "\n".join(lines), ok=not report.problems)
