"""Sizes at a moment: disk by folder, topics, Redis, memory and open files of each process."""

import os
from pathlib import Path

from week.system import System

__all__ = ["sizes_of"]


def sizes_of(system: System) -> dict[str, float]:
    """Return bytes and counts by name: `disk log`, `topic week-events`, `redis memory`, `memory stream`."""
    home = system.home
    sizes = {f"disk {folder.name}": _bytes_of(folder) for folder in home.iterdir() if folder.is_dir()}
    for folder in (home / "broker" / "apache" / "data").glob("*-[0-9]*"):
        topic = f"topic {folder.name.rpartition('-')[0]}"
        sizes[topic] = sizes.get(topic, 0) + _bytes_of(folder)
    with system.settings.redis_access.connect(timeout_s=10) as client:
        sizes["redis memory"] = client.info("memory")["used_memory"]
        sizes["redis keys"] = client.dbsize()
    for name, process in system.processes.items():
        sizes[f"memory {name}"], sizes[f"files {name}"] = _process(name, process)
    sizes["files in the home"] = sum(1 for path in home.rglob("*") if path.is_file())
    return sizes


def _bytes_of(folder: Path) -> float:
    """Return the bytes of blocks on disk: Kafka's index files are sparse."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(Path(place, name)).st_blocks * 512
            except FileNotFoundError:
                continue  # deleted meanwhile
    return total


def _process(name: str, number: int) -> tuple[float, float]:
    """Resident memory and open files of a process. Raises RuntimeError if it has ended."""
    place = Path(f"/proc/{number}")
    pages = int((place / "statm").read_text().split()[1])
    if not pages:
        raise RuntimeError(f"{name} has ended; its log is beside the home")
    return pages * os.sysconf("SC_PAGE_SIZE"), sum(1 for _ in (place / "fd").iterdir())
