"""Simulate: `python -m tests.simulation --seeds 2000 [--first N]`, or one seed and what happened: `--seed N --trace`.

Prints one line of JSON; exits 1 where an invariant did not hold.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.simulation.simulation import Result, simulate

PROCESSES: Final = 2

ROOT: Final = Path(__file__).parents[2]

_SUMS: Final = ("steps", "jobs", "starts", "overlaps")
_COUNTS: Final = {
    "crashes": "crashes",
    "pauses": "pauses",
    "blocks": "blocks",
    "cuts": "cuts",
    "skews": "skews",
    "stops": "stops",
    "failed_calls": "failed_calls",
    "lost_answers": "lost_answers",
    "late_statements": "late_statements",
    "fences": "LeaseLost",
    "rescues": "JobsRescued",
}
"""What is reported, and by which name a simulation counts it."""


class Total(msgspec.Struct):
    """What some seeds came to together."""

    seeds: int = 0
    simulated_s: float = 0.0
    busy_s: float = 0.0
    numbers: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    failed: dict[str, str] = msgspec.field(default_factory=dict[str, str])

    def add(self, result: Result) -> None:
        """Add one seed."""
        numbers = {name: getattr(result, name) for name in _SUMS}
        numbers |= {name: result.counts[counted] for name, counted in _COUNTS.items()}
        failed = {} if result.broken is None else {str(result.seed): result.broken[:300]}
        self.join(Total(1, result.simulated_s, result.busy_s, numbers, failed))

    def join(self, other: "Total") -> None:
        """Add other seeds."""
        self.seeds += other.seeds
        self.simulated_s += other.simulated_s
        self.busy_s += other.busy_s
        for name, number in other.numbers.items():
            self.numbers[name] = self.numbers.get(name, 0) + number
        self.failed |= other.failed


def run(seeds: Sequence[int]) -> Total:
    """Run the seeds in this process."""
    total = Total()
    for seed in seeds:
        total.add(simulate(seed))
    return total


def run_in_processes(first: int, seeds: int) -> Total:
    """Run the seeds in several processes."""
    command = [sys.executable, "-m", "tests.simulation", "--first"]
    halves = [range(first + place, first + seeds, PROCESSES) for place in range(PROCESSES)]
    children = [
        subprocess.Popen(
            [*command, str(half.start), "--seeds", str(len(half)), "--every", str(PROCESSES)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        for half in halves
    ]
    total = Total()
    for child in children:
        output, _ = child.communicate()
        total.join(msgspec.json.decode(output, type=Total))
    return total


def line(total: Total, seconds: float) -> dict[str, Any]:
    """Return what is printed for seeds that took so many seconds."""
    hours = total.simulated_s / 3600
    return {
        "seeds": total.seeds,
        "simulated_hours": round(hours, 1),
        "busy_hours": round(total.busy_s / 3600, 2),
        "seconds": round(seconds, 1),
        "simulated_hours_per_minute": round(hours / seconds * 60),
        **total.numbers,
        "failed": dict(sorted(total.failed.items(), key=lambda item: int(item[0]))),
    }


def show(seed: int, *, is_traced: bool) -> int:
    """Run one seed; print what happened."""
    begun = time.monotonic()
    result = simulate(seed)
    if is_traced:
        print("\n".join(result.trace))
    total = Total()
    total.add(result)
    print(json.dumps({**line(total, time.monotonic() - begun), "digest": result.digest}))
    return 1 if result.broken else 0


def main() -> int:
    """Run as the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--every", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="print what happened in it")
    options = parser.parse_args()
    if options.seed is not None:
        return show(options.seed, is_traced=options.trace)
    if options.every is not None:
        seeds = range(options.first, options.first + options.seeds * options.every, options.every)
        print(msgspec.json.encode(run(seeds)).decode())
        return 0
    begun = time.monotonic()
    total = run_in_processes(options.first, options.seeds)
    print(json.dumps(line(total, time.monotonic() - begun)))
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
