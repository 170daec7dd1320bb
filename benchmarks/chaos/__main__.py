"""make chaos ARGS="--seed 7 --minutes 10 --topology cluster": exit code 0 if every guarantee held."""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from chaos.hosts.network import lack
from chaos.options import Options
from chaos.run import run

_DEFAULTS = Options()

_CLUSTERS = {"single": (), "redis": ("store",), "kafka": ("broker",), "cluster": ("store", "broker"), "hosts": ()}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="make chaos", description="Inject faults into a running system, then compare."
    )
    parser.add_argument("--seed", type=int, default=_DEFAULTS.seed, help="of faults and traffic (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=_DEFAULTS.minutes, help="(default %(default)g)")
    parser.add_argument(
        "--topology",
        choices=_CLUSTERS,
        default="single",
        help="redis: a Redis Cluster of three primaries with replicas; kafka: three brokers; cluster: both; "
        "hosts: both on hosts of a network, of which one after another is lost (default %(default)s)",
    )
    parser.add_argument("--rate", type=float, default=_DEFAULTS.rate, help="events per second (default %(default)g)")
    parser.add_argument("--workers", type=int, default=_DEFAULTS.workers, help="(default %(default)s)")
    parser.add_argument(
        "--failover", type=float, default=_DEFAULTS.failover_s, help="seconds between failovers (default %(default)g)"
    )
    parser.add_argument(
        "--forget",
        type=float,
        default=_DEFAULTS.forget_s,
        help="seconds between losses of the store (default %(default)g)",
    )
    parser.add_argument("--away", type=float, default=0.0, help="seconds for which a broker is unavailable, once")
    parser.add_argument("--output", type=Path, help="a file for the verdict as JSON")
    parser.add_argument("--keep", type=Path, help="an empty folder to run in, which is kept")
    args = parser.parse_args()
    if args.topology == "hosts" and (reason := lack()):
        parser.error(reason)
    options = Options(
        args.seed,
        args.minutes,
        _CLUSTERS[args.topology],
        args.rate,
        args.workers,
        failover_s=args.failover,
        forget_s=args.forget,
        away_s=args.away,
        on_hosts=args.topology == "hosts",
    )
    folder = args.keep or Path(tempfile.mkdtemp(prefix="encore-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    verdict = run(options, folder, lambda line: print(line, file=sys.stderr, flush=True))
    text = json.dumps(verdict.json(), indent=1)
    print(text)
    if args.output:
        args.output.write_text(text + "\n")
    if verdict.problems:
        print(f"FAILED with seed {options.seed}; logs and data are in {folder}", file=sys.stderr)
        return 1
    if not args.keep:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
