"""`rexecutor prune`: delete ended jobs."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rexecutor.cli.failure import MisusedError
from rexecutor.cli.output import write_json, write_line
from rexecutor.cli.store import AsJson, Store, use_store
from rexecutor.cli.values import check_texts, duration, note_unknown
from rexecutor.model.pruning import BATCH, BeyondNewest, OlderThan, PruneSpec
from rexecutor.model.status import ENDED, JobStatus

if TYPE_CHECKING:
    from rexecutor.backend.base import Backend

MAX_KEPT: Final = 2**63 - 1


def prune(
    *,
    status: Annotated[
        JobStatus,
        typer.Option(
            metavar="STATUS",
            help=f"Only jobs that ended in this status: {', '.join(s for s in JobStatus if s in ENDED)}.",
        ),
    ],
    older_than: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="AGE", help="Only jobs that ended longer ago: 90s, 15m, 12h, 31d or 2w."),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, max=MAX_KEPT, help="All except the N jobs of each executor that ended last."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only of this executor; may be repeated.")
    ] = None,
    excepted: Annotated[
        list[str] | None, typer.Option("--except", metavar="NAME", help="Not of this executor; may be repeated.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Delete nothing; print how many jobs would be deleted, by this machine's clock."
        ),
    ] = False,
    store: Store,
    json: AsJson = False,
) -> None:
    """Delete ended jobs permanently, by age (--older-than) or by number (--keep), 1,000 in a transaction."""
    spec = prune_spec(status, older_than, keep, only, excepted)

    async def act(backend: "Backend") -> int:
        await note_unknown(backend, spec.executors)
        return await (count_prunable(backend, spec) if dry_run else prune_all(backend, spec))

    jobs = use_store(store, act)
    if json:
        write_json({"prunable" if dry_run else "pruned": jobs})
    else:
        write_line(pruned_text(jobs, status, dry_run=dry_run))


def pruned_text(jobs: int, status: JobStatus, *, dry_run: bool) -> str:
    """Return what a pruning has done, for people."""
    counted = f"{jobs:,} {status} job{'' if jobs == 1 else 's'}"
    return f"would prune {counted}" if dry_run else f"pruned {counted}"


def prune_spec(
    status: JobStatus, age: timedelta | None, keep: int | None, only: list[str] | None, excepted: list[str] | None
) -> "PruneSpec":
    """Return what is to be pruned by these options.

    Raises:
        MisusedError: They are not those of one pruning.
    """
    if not status.has_ended:
        raise MisusedError(f"--status {status}: only ended jobs can be pruned: complete, cancelled or discarded")
    if only and excepted:
        raise MisusedError("--only and --except cannot be used together; give one of them, which may be repeated")
    names = check_texts("--only", only) if only else check_texts("--except", excepted or ())
    match age, keep:
        case timedelta(), None:
            return PruneSpec(status, OlderThan(age), names, not only)
        case None, int():
            return PruneSpec(status, BeyondNewest(keep), names, not only)
        case _:
            raise MisusedError("give either --older-than 31d or --keep 200")


async def prune_all(backend: "Backend", spec: "PruneSpec") -> int:
    """Delete all jobs that the spec is about, a batch at a time; return how many there were."""
    deleted = batch = await backend.prune(spec, BATCH)
    while batch == BATCH:
        batch = await backend.prune(spec, BATCH)
        deleted += batch
    return deleted


async def count_prunable(backend: "Backend", spec: "PruneSpec") -> int:
    """Return how many jobs `prune` would delete. `--keep` needs only the store's counts, an age needs every job."""
    from rexecutor.model.rules import prunable
    from rexecutor.model.where import StatusIn

    if isinstance(spec.what, BeyondNewest):
        counts = [entry for entry in await backend.count() if entry.status is spec.status]
        return sum(max(entry.jobs - spec.what.jobs, 0) for entry in counts if spec.concerns(entry.executor))
    now = backend.clock.now()
    ended = StatusIn(frozenset({spec.status}))
    jobs = 0
    page = await backend.query(ended, limit=BATCH)
    while page:
        jobs += len(prunable(spec, page, now))
        page = await backend.query(ended, limit=BATCH, after=page[-1].id)
    return jobs
