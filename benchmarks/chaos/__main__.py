"""make chaos ARGS="--seed 7 --minutes 10 --topology cluster": exit code 0 if every promise was kept."""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from chaos.run import Options, run

_DEFAULTS = Options()

_TOPOLOGIES = {"single": (), "redis": ("store",), "kafka": ("broker",), "cluster": ("store", "broker")}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make chaos", description="Harm a running system, then compare.")
    parser.add_argument("--seed", type=int, default=_DEFAULTS.seed, help="of faults and traffic (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=_DEFAULTS.minutes, help="(default %(default)g)")
    parser.add_argument(
        "--topology",
        choices=_TOPOLOGIES,
        default="single",
        help="redis: a Redis Cluster of three primaries with replicas; kafka: three brokers; cluster: both "
        "(default %(default)s)",
    )
    parser.add_argument("--rate", type=float, default=_DEFAULTS.rate, help="events per second (default %(default)g)")
    parser.add_argument("--workers", type=int, default=_DEFAULTS.workers, help="(default %(default)s)")
    parser.add_argument(
        "--failover", type=float, default=_DEFAULTS.failover_s, help="seconds between a cluster's (default %(default)g)"
    )
    parser.add_argument(
        "--forget",
        type=float,
        default=_DEFAULTS.forget_s,
        help="seconds between losses of the store (default %(default)g)",
    )
    parser.add_argument("--away", type=float, default=0.0, help="seconds for which a broker is away, once")
    parser.add_argument("--output", type=Path, help="a file for the verdict as JSON")
    parser.add_argument("--keep", type=Path, help="an empty folder to run in, that stays")
    given = parser.parse_args()
    options = Options(
        given.seed,
        given.minutes,
        _TOPOLOGIES[given.topology],
        given.rate,
        given.workers,
        failover_s=given.failover,
        forget_s=given.forget,
        away_s=given.away,
    )
    folder = given.keep or Path(tempfile.mkdtemp(prefix="encore-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    verdict = run(options, folder, lambda line: print(line, file=sys.stderr, flush=True))
    text = json.dumps(verdict.json(), indent=1)
    print(text)
    if given.output:
        given.output.write_text(text + "\n")
    if verdict.problems:
        print(f"FAILED with seed {options.seed}; logs and data are in {folder}", file=sys.stderr)
        return 1
    if not given.keep:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
