"""The table of what workloads cost."""

from collections.abc import Mapping
from difflib import unified_diff
from typing import Final

from tests.costs.ground import Costs, Written

_WIDTHS: Final = {
    "workload": 20,
    "jobs": 4,
    "statements": 10,
    "trips": 5,
    "commits": 7,
    "stored_jobs": 11,
    "HOT": 4,
    "queue": 13,
    "running": 11,
    "others": 12,
}
_TABLES: Final = ("stored_jobs", "queue", "running")
_TEXTS: Final = {"workload", "others", *_TABLES}


def table_of(costs: Mapping[str, tuple[int, Costs]]) -> str:
    """Return a line for each workload, with its number of jobs, and a line of heads."""
    lines = [_cells(name, jobs, cost) for name, (jobs, cost) in costs.items()]
    heads = [head for head in _WIDTHS if any(head in line for line in lines)]
    return "\n".join(_line(heads, line) for line in [{head: head for head in heads}, *lines])


def changes(old: str, new: str) -> str:
    """Return what a failing test says: the lines of two tables that differ, under their heads, and the new table."""
    before, after = old.splitlines(), new.splitlines()
    lines = [line for line in unified_diff(before, after, n=0, lineterm="") if line[:3] not in {"---", "+++", "@@ "}]
    return "\n".join([" " + after[0], *lines, "", "The new table:", "", new])


def _cells(name: str, jobs: int, costs: Costs) -> Mapping[str, str]:
    cells = {"workload": name, "jobs": str(jobs or "")}
    cells |= {kind: str(number) for kind, number in costs.calls.items()}
    for table in _TABLES:
        written = costs.rows.get(table, Written())
        cells[table] = str(written)
        if written.hot is not None and table == "stored_jobs":
            cells["HOT"] = str(written.hot) if written.updated else ""
    others = {table: str(written) for table, written in costs.rows.items() if table not in _TABLES}
    cells["others"] = " ".join(f"{table} {others[table]}" for table in sorted(others) if others[table])
    return cells


def _line(heads: list[str], cells: Mapping[str, str]) -> str:
    texts = (
        cells.get(head, "").ljust(_WIDTHS[head]) if head in _TEXTS else cells.get(head, "").rjust(_WIDTHS[head])
        for head in heads
    )
    return "  ".join(texts).rstrip()
