"""Turns the figures of all rounds into tables and into the file of raw figures."""

import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.systems import SYSTEMS
from benchmarks.workloads import WORKLOADS, Figures, Workload

LABELS: Final[Mapping[str, str]] = {
    "jobs_per_s": "jobs/s",
    "ran_per_s": "jobs/s",
    "enqueued_per_s": "enqueued/s",
    "again_per_s": "again, jobs/s",
    "again_16_per_s": "again by 16, jobs/s",
    "worker_us": "worker µs/job",
    "server_us": "server µs/job",
    "worker_mib": "worker MiB",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p99_ms": "p99 ms",
    "p999_ms": "p99.9 ms",
    "rate_per_s": "load, jobs/s",
    "last_to_first_p99": "p99 last/first tenth",
    "dead_rows": "dead rows",
    "wal_per_job": "WAL bytes/job",
    "commits_per_job": "commits/job",
    "share_of_ideal": "share of ideal",
    "pruned": "pruned",
    "worker_ms_per_s": "worker ms/s",
    "commits_per_s": "commits/s",
    "server_ms_per_s": "server ms/s, idle",
    "server_ms_per_job": "server ms/job",
    "connections": "connections",
    "looks": "queries a change",
    "looks_of_one": "with 1 awaited",
}
SHARED: Final = "ran_per_s"
"""The figure in which a workload is compared with a plain drain."""


@dataclass
class Results:
    """All figures of a run, and what they were measured with."""

    options: Mapping[str, object]
    servers: dict[str, Mapping[str, object]] = field(default_factory=dict[str, Mapping[str, object]])
    systems: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    figures: dict[str, dict[str, list[Figures]]] = field(default_factory=dict[str, dict[str, list[Figures]]])
    """By workload, then by system: one for each round."""
    plain: dict[str, dict[str, list[Figures]]] = field(default_factory=dict[str, dict[str, list[Figures]]])
    """By workload, then by system: those of the workload with which it is compared, if another run has its own."""
    left_out: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """By workload, then by system: why it has no figures."""

    def add(self, workload: str, system: str, figures: Figures) -> None:
        """Add what one round has measured."""
        self.figures.setdefault(workload, {}).setdefault(system, []).append(figures)

    def leave_out(self, workload: str, system: str, why: str) -> None:
        """Note why a system has no figures for a workload."""
        self.left_out.setdefault(workload, {})[system] = why

    def values(self, workload: str, system: str, figure: str) -> list[float]:
        """Return a figure in all rounds."""
        return _values(self.figures.get(workload, {}).get(system, []), figure)

    def raw(self) -> dict[str, object]:
        """Return all as JSON can hold it."""
        return {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "options": self.options,
            "servers": self.servers,
            "systems": self.systems,
            "figures": self.figures,
            "left_out": self.left_out,
        }

    def tables(self) -> str:
        """Return a table for each workload, in Markdown."""
        names = [name for name in WORKLOADS if name in self.figures or name in self.left_out]
        return "\n\n".join(self.table(WORKLOADS[name]) for name in names) + "\n"

    def table(self, workload: Workload) -> str:
        """Return the table of one workload: what is best stands first."""
        name, main = workload.name, workload.main
        measured = {system: self.values(name, system, main) for system in self.figures.get(name, {})}
        ordered = sorted(measured, key=lambda system: median(measured[system]), reverse=main.endswith("per_s"))
        plain = self.plain.get(name, self.figures.get(workload.share_of, {}))
        shares = workload.share_of if any(one in plain for one in ordered) else ""
        others = [LABELS[figure] for figure in workload.others]
        head = [
            "system",
            f"min {LABELS[main]}",
            "median",
            "max",
            "ours / it",
            *([f"of {shares}"] if shares else []),
            *others,
        ]
        rows: list[list[str]] = []
        for system in ordered:
            values = measured[system]
            row = [system, *(number(one) for one in (min(values), median(values), max(values)))]
            reference = measured.get(SYSTEMS[system].reference)
            row.append(f"{median(reference) / median(values):.2f}" if reference and median(values) else "")
            if shares:
                whole, same = _values(plain.get(system, []), SHARED), self.values(name, system, SHARED)
                row.append(f"{median(same) / median(whole):.2f}" if whole and same else "")
            for figure in workload.others:
                some = self.values(name, system, figure)
                row.append(number(median(some)) if some else "")
            rows.append(row)
        left_out = [f"- {system}: {why}" for system, why in self.left_out.get(name, {}).items()]
        title = f"### {workload.title} (`{name}`)"
        return "\n".join([title, "", *markdown(head, rows), *([""] if left_out else []), *left_out])


def _values(rounds: Iterable[Figures], figure: str) -> list[float]:
    return [value for one in rounds if isinstance(value := one.get(figure), int | float)]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table whose columns are aligned in the source, too."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [
        "| "
        + " | ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        + " |"
        for row in (head, rule, *rows)
    ]


def number(value: float) -> str:
    """Return a number with three digits or more."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def machine() -> dict[str, object]:
    """Return what the figures depend on."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "system": platform.platform(),
        "driver_python": sys.version.split()[0],
        "load": os.getloadavg(),
    }
