"""Run a system for a compressed week: disk, Redis and the memory of every process are flat once retention is reached.

    python benchmarks/bench_week.py [--json week.json] [--plot docs/img/week.svg] [--minutes 30] [--days 7]

Every process has a clock on which the days pass within the minutes. Visitors come once, campaigns last an hour; a
model is trained each day; retention is applied every six hours (by the monitor each hour).
"""

import argparse
import json
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from machine import this_machine
from week.fast_clock import FastClock
from week.flat import course_of
from week.plot import draw
from week.system import System
from week.watch import sizes_of

_DAY_S = 86_400
_SAMPLE_S = 5.0
_EVERY_DAYS = {"train": 1.0, "retention": 0.25}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--days", type=float, default=7, help="that pass in these minutes")
    parser.add_argument("--rate", type=float, default=30, help="events a second of the machine's clock")
    parser.add_argument("--asked", type=float, default=5, help="questions a second of the machine's clock")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--plot", type=Path, help="where to draw it, such as week.svg")
    parser.add_argument("--folder", type=Path, help="where to keep the system; by default a temporary folder")
    args = parser.parse_args()
    options = {name: value for name, value in vars(args).items() if name not in {"json", "plot", "folder"}}
    setting = {**this_machine(), **options, "since_day": args.days / 2}
    print(json.dumps(setting, indent=2), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        result = {"setting": setting, **measure(args, folder)}
    if args.json:  # before the evaluation, which may fail: the run took half an hour
        args.json.write_text(json.dumps(result) + "\n")
    if args.plot:
        draw(result, args.plot)
    for name, sizes in result["sizes"].items():
        print(f"{name}: {json.dumps(course_of(result['days'], sizes, args.days / 2)._asdict())}")


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run a system for the days; return sizes over time, and the commands that ran."""
    clock = FastClock(round(args.days * _DAY_S / (args.minutes * 60)), folder)
    days: list[float] = []
    samples: list[dict[str, float]] = []
    done: list[dict[str, Any]] = []
    due = dict(_EVERY_DAYS)
    with System(folder, clock, args.rate, args.asked) as system, ThreadPoolExecutor(len(due)) as pool:

        def run(command: str, day: float) -> None:
            code, reply, errors = system.encore(command, *(["--promote"] if command == "train" else []))
            numbers: dict[str, Any] = {
                name: reply[name] for name in ("log", "predictions", "models", "problems") if name in reply
            }
            done.append({"day": round(day, 2), "command": command, "code": code, "errors": errors[-300:], **numbers})
            print(json.dumps(done[-1]), flush=True)

        running: dict[str, Future[None]] = {}
        while (day := clock.passed_s / _DAY_S) < args.days:
            days.append(round(day, 3))
            samples.append(sizes_of(system))
            for command, every in _EVERY_DAYS.items():
                if day >= due[command] and (command not in running or running[command].done()):
                    due[command] = day + every
                    running[command] = pool.submit(run, command, day)
            time.sleep(_SAMPLE_S)
        names = sorted(set().union(*samples))
        return {
            "days": days,
            "sizes": {name: [sample.get(name, 0) for sample in samples] for name in names},
            "done": done,
        }


if __name__ == "__main__":
    main()
