"""`rexecutor jobs cancel` and `rexecutor jobs rerun`."""

from typing import Annotated

import typer

from rexecutor.cli.change import Asking, Change, Ids, change_jobs
from rexecutor.cli.filters import Filters
from rexecutor.cli.store import AsJson, Store
from rexecutor.cli.values import check_text
from rexecutor.model.status import ENDED, OPEN


def cancel_jobs(
    ids: Ids = None,
    *,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Kept in the job's last error.")] = "cancelled by hand",
    filters: Filters,
    asking: Asking,
    store: Store,
    json: AsJson = False,
) -> None:
    """Cancel jobs: those with these IDs, or those that match the filters.

    A waiting job is cancelled at once; if it is running, its node is asked to cancel it. With filters, the command says
    how many jobs there are and asks first; it works in batches, and jobs that are enqueued meanwhile are left alone.
    """
    check_text("--reason", reason)
    change = Change(
        "cancel",
        "cancelled",
        "cancelled",
        OPEN,
        lambda backend: lambda ids, where: backend.cancel_many(ids, reason, where=where),
        "executing: its node was asked to cancel it",
        "are executing: their nodes were asked to cancel them",
    )
    change_jobs(change, ids, filters, asking, store, json=json)


def rerun_jobs(ids: Ids = None, *, filters: Filters, asking: Asking, store: Store, json: AsJson = False) -> None:
    """Run ended jobs once more: those with these IDs, or those that match the filters.

    If no attempt is left, one more is allowed. With filters, the command says how many jobs there are and asks first.
    """
    change = Change(
        "rerun",
        "rerun",
        "scheduled again",
        ENDED,
        lambda backend: lambda ids, where: backend.rerun_many(ids, where=where),
        "executing again",
        "are executing again",
    )
    change_jobs(change, ids, filters, asking, store, json=json)
