"""Plot the week: disk, Redis, memory of every process and topics, by day."""

from pathlib import Path
from typing import Any

__all__ = ["draw"]

_MB = 1e6
_PANELS = (
    ("disk, MB", "disk ", ("disk run", "disk quality", "disk plans", "disk feast", "disk audit-log", "disk copies")),
    ("memory of processes, MB", "memory ", ("memory traffic",)),
    ("topics, MB", "topic ", ()),
    ("Redis, MB", "redis memory", ()),
)
"""Panels: label, prefix of the names of their series, and series that are left out because they are small."""


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the measurements, with a line from which on they should be flat."""
    import matplotlib as mpl  # noqa: PLC0415 - only a plot needs it

    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    days, series = result["days"], result["sizes"]
    figure, axes = plt.subplots(2, 2, figsize=(10, 6.4), layout="constrained", sharex=True)
    for axis, (label, begins, without) in zip(axes.flat, _PANELS, strict=True):
        for name, sizes in sorted(series.items()):
            if name.startswith(begins) and name not in without:
                axis.plot(days, [size / _MB for size in sizes], linewidth=1, label=name.partition(" ")[2])
        axis.axvline(result["setting"]["since_day"], color="grey", linestyle=":", linewidth=1)
        axis.set(ylabel=label, ylim=(0, axis.get_ylim()[1] * 1.3), xlim=(days[0], None))  # room for the names
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize="small", ncols=2, loc="upper right")
    for axis in axes[-1]:
        axis.set(xlabel="days")
    figure.savefig(path, metadata={"Date": None})
