"""`make bench`: medians of some rounds. Rexecutor and the bare driver take turns, so a slow moment hits both."""

import argparse
import sys

from benchmarks import postgres, sqlite
from benchmarks.report import Report

STORES = {"sqlite": sqlite.measure, "postgres": postgres.measure}


def main() -> None:
    """Run and print all figures, or those of one store."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("stores", nargs="*", choices=[*STORES, []], default=[], help="all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="a share of the jobs, for a quick look")
    options = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, medians of {options.rounds}; only the ratios are meaningful")
    report = Report(options.rounds)
    for store in options.stores or STORES:
        STORES[store](report, options.scale)


if __name__ == "__main__":
    main()
