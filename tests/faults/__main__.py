"""Run scenarios: `python -m tests.faults [S6 S9 …] [--full] [--store sqlite] [--seed 7]`.

Prints one JSON line for each scenario and store; exits with 1 if one is not as promised. With `--keep` the lines are
kept for the tables of `docs/reliability.md`.
"""

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tests.faults.scenario import Ground, Report, Scenario, scenarios
from tests.faults.stores import KINDS, temporary_store

MOST_SECONDS = 3_600
"""How long one scenario may take on one store at full size."""


def run_one(scenario: Scenario, kind: str, *, seed: int, is_full: bool) -> dict[str, Any]:
    """Run a scenario on a store of its own, and return its line."""
    head = {"scenario": scenario.name, "title": scenario.title, "store": kind}
    if (lacking := scenario.lacks()) is not None:
        return {**head, "skipped": lacking}
    begun = time.monotonic()
    with temporary_store(kind) as (store, folder):
        ground = folder / "ground"
        ground.mkdir()
        report = asyncio.run(in_time(scenario, Ground(store, ground, seed, is_full)))
    found = msgspec.to_builtins(report)
    figures = found.pop("figures", {})
    wrong = found.pop("wrong", [])
    size = "full" if is_full else "short"
    day = datetime.now(UTC).date().isoformat()
    took = {"seconds": round(time.monotonic() - begun, 1), "size": size, "seed": seed, "day": day}
    return {**head, **found, **figures, **took, "wrong": wrong}


async def in_time(scenario: Scenario, ground: Ground) -> Report:
    """Run it, but not for ever; what it raises is what is wrong."""
    try:
        async with asyncio.timeout(MOST_SECONDS):
            return await scenario.run(ground)
    except Exception as error:  # noqa: BLE001 - the others are to be run all the same
        return Report(wrong=[f"{type(error).__name__}: {error}"[:500]])


def main() -> int:
    """Run as the command line says, and return the exit status."""
    known = scenarios()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="S6", help="all there are, if none is given")
    parser.add_argument("--store", choices=KINDS)
    parser.add_argument("--full", action="store_true", help="at full size")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--keep", type=Path, help="keep the lines in this file, one a scenario and store")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, end)
    if unknown := set(options.names) - known.keys():
        parser.error(f"{', '.join(sorted(unknown))}: not among {', '.join(known)}")
    is_well = True
    for name in options.names or known:
        for kind in known[name].kinds:
            if options.store in (None, kind):
                line = run_one(known[name], kind, seed=options.seed, is_full=options.full)
                print(json.dumps(line), flush=True)
                is_well = is_well and not line.get("wrong")
                if options.keep is not None:
                    keep(options.keep, line)
    return 0 if is_well else 1


def end(number: int, _: object) -> None:
    """Leave in a way that ends what was started."""
    sys.exit(128 + number)


def keep(path: Path, line: dict[str, Any]) -> None:
    """Put the line into the file, in the place of an older one of the same scenario and store."""
    old = [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
    kept = {(one["scenario"], one["store"]): one for one in [*old, line]}
    ordered = sorted(kept.values(), key=lambda one: (int(one["scenario"][1:]), one["store"]))
    path.write_text("".join(f"{json.dumps(one)}\n" for one in ordered))


if __name__ == "__main__":
    sys.exit(main())
