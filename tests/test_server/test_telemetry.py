"""What a scrape of several workers adds up."""

from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from server.scoring.telemetry import Telemetry


def test_a_worker_that_only_begins_spoils_no_scrape(tmp_path: Path) -> None:
    """Its file is empty before it has a size, and is of zeros before something is counted."""
    name = "encore_predictions"
    for worker, count in ((1, 3.0), (2, 4.0)):
        meters = MmapedDict(tmp_path / f"counter_{worker}.db")  # type: ignore[no-untyped-call]
        key = mmap_key(name, f"{name}_total", [], [], "Predictions made.")
        meters.write_value(key, count, 0.0)  # type: ignore[no-untyped-call]
        meters.close()  # type: ignore[no-untyped-call]
    (tmp_path / "counter_3.db").touch()
    (tmp_path / "counter_4.db").write_bytes(bytes(1 << 16))
    assert b"\nencore_predictions_total 7.0" in generate_latest(Telemetry(tmp_path).registry())
