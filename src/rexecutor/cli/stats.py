"""`rexecutor stats`: count the jobs."""

from typing import TYPE_CHECKING

from rexecutor.cli.output import write_json, write_table
from rexecutor.cli.store import AsJson, Store, use_store
from rexecutor.model.status import JobStatus

if TYPE_CHECKING:
    from rexecutor.backend.base import Backend
    from rexecutor.backend.messages import Count


def stats(*, store: Store, json: AsJson = False) -> None:
    """Count the jobs by executor and status."""

    async def count(backend: "Backend") -> "list[Count]":
        return list(await backend.count())

    counts = use_store(store, count)
    executors: dict[str, dict[str, int]] = {}
    totals = dict.fromkeys(map(str, JobStatus), 0)
    for entry in counts:
        executors.setdefault(entry.executor, dict.fromkeys(totals, 0))[entry.status] += entry.jobs
        totals[entry.status] += entry.jobs
    if json:
        write_json({"jobs": sum(totals.values()), "statuses": totals, "executors": executors})
        return
    rows = [*sorted(executors.items()), ("total", totals)]
    write_table(
        ("executor", *totals, "jobs"),
        [(name, *map(str, row.values()), str(sum(row.values()))) for name, row in rows],
    )
