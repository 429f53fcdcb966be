"""Measures rexecutor, the bare ceilings and the peers, in one run: `python -m benchmarks [WORKLOAD…]`."""

import argparse
import json
import signal
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from types import FrameType

from benchmarks import plots
from benchmarks.cell import Cell
from benchmarks.environments import NotInstalledError, interpreter, newest_python
from benchmarks.process import AdapterError
from benchmarks.record import WrongRunsError
from benchmarks.report import Results
from benchmarks.stores import KINDS, NoServerError, Store
from benchmarks.systems import SYSTEMS, System, chosen
from benchmarks.workloads import GROUPS, WORKLOADS, Workload

MOST_FAILURES = 2
"""Number of failures of a system at a workload after which its other rounds are left out."""


class Run:
    """One run: its servers, its environments and its results."""

    def __init__(self, options: argparse.Namespace, servers: ExitStack) -> None:
        self.options = options
        self.python: Path = options.python or (Path(sys.executable) if options.here else newest_python())
        self.results = Results({name: str(value) for name, value in vars(options).items()})
        self._servers = servers
        self._stores: dict[str, Store | str] = {}
        self._pythons: dict[str, Path] = {}
        self._unusable: dict[str, str] = {}

    def prepare(self, system: System) -> None:
        """Start the system's server and make its environment."""
        if system.store not in self._stores:
            try:
                store = self._servers.enter_context(KINDS[system.store]())
            except NoServerError as error:
                self._stores[system.store] = str(error)
            else:
                self._stores[system.store] = store
                self.results.servers[system.store] = {"version": store.version, "settings": store.settings}
        store = self._stores[system.store]
        if isinstance(store, str):
            self._refuse(system, store)
            return
        try:
            here = self.options.here and (system.ours or system.bare)
            self._pythons[system.name] = interpreter(system, self.python, here=here)
            with Cell(system, store, self._pythons[system.name], 1.0) as cell:
                about = cell.about()
        except (NotInstalledError, AdapterError) as error:
            self._refuse(system, str(error))
        else:
            self.results.systems[system.name] = {"store": system.store, "settings": system.settings, **about}

    def _refuse(self, system: System, why: str) -> None:
        self._unusable[system.name] = why
        say(f"{system.name}: cannot be measured: {why}")

    def measure(self, workload: Workload, systems: list[System]) -> None:
        """Measure all rounds of a workload; the systems take turns."""
        able: list[System] = []
        for system in systems:
            why = self._unusable.get(system.name) or unfit(workload, system)
            if why is None:
                able.append(system)
            elif why:
                self.results.leave_out(workload.name, system.name, why)
        failures: Counter[str] = Counter()
        for number in range(1 if workload.is_long else self.options.rounds):
            turn = number % max(1, len(able))
            for system in able[turn:] + able[:turn]:
                if failures[system.name] < MOST_FAILURES:
                    failures[system.name] += not self._measure(workload, system, number)
        say(self.results.table(workload) + "\n" if able else f"{workload.name}: nobody can")

    def _measure(self, workload: Workload, system: System, number: int) -> bool:
        store = self._stores[system.store]
        assert isinstance(store, Store)
        began = perf_counter()
        try:
            with Cell(system, store, self._pythons[system.name], self.options.scale) as cell:
                figures = workload.run(cell)
        except (AdapterError, WrongRunsError, AssertionError) as error:
            if self.options.strict:
                raise
            self.results.leave_out(workload.name, system.name, f"round {number + 1}: {error}")
            say(f"{workload.name}, {system.name}: {error}")
            return False
        self.results.add(workload.name, system.name, figures)
        value = figures[workload.main]
        say(f"  {workload.name} {number + 1} {system.name}: {value:,.2f} ({perf_counter() - began:.1f} s)")
        return True

    def write(self) -> None:
        """Write the tables, the raw figures and the plots."""
        folder: Path = self.options.out
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tables.md").write_text(self.results.tables(), encoding="utf-8")
        (folder / "raw.json").write_text(json.dumps(self.results.raw(), indent=1), encoding="utf-8")
        plots.draw(self.results, folder)
        say(f"tables, raw figures and plots: {folder}")


def unfit(workload: Workload, system: System) -> str | None:
    """Return why a system is not measured; None if it is measured, and "" if the reason need not be shown."""
    if system.store not in workload.stores or (workload.only_ours and not system.ours):
        return ""
    if system.bare and not workload.bare:
        return ""
    if system.store == "memory" and workload.name in {"drain_2", "drain_4", "result"}:
        return ""
    missing = workload.needs & system.lacks
    return f"has no way to do this: {', '.join(sorted(missing))}" if missing else None


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def end(number: int, _: FrameType | None) -> None:
    """End so that everything that was started ends, too."""
    sys.exit(128 + number)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = f"workloads: {', '.join(WORKLOADS)}; or groups: {', '.join(GROUPS)}; by default core"
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=known)
    systems = f"with commas: {', '.join(SYSTEMS)}; or ours, bare, peers, all, or a store; by default ours,bare"
    parser.add_argument("--systems", default="ours,bare", help=systems)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="a share of the jobs, for a quick look")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder for the results")
    parser.add_argument("--here", action="store_true", help="run ours and the bare ceilings in this environment")
    parser.add_argument("--python", type=Path, help="interpreter of all environments; by default the newest one found")
    parser.add_argument("--strict", action="store_true", help="stop at the first failure of a system")
    options = parser.parse_args()
    names = [one for name in options.workloads or ["core"] for one in GROUPS.get(name, (name,))]
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        parser.error(f"unknown workload: {', '.join(unknown)}; {known}")
    try:
        some = chosen(options.systems.split(","))
    except KeyError as error:
        parser.error(f"unknown system: {error}; {systems}")
    signal.signal(signal.SIGTERM, end)
    with ExitStack() as servers:
        run = Run(options, servers)
        for system in some:
            run.prepare(system)
        try:
            for name in dict.fromkeys(names):
                run.measure(WORKLOADS[name], some)
        finally:
            run.write()


if __name__ == "__main__":
    main()
