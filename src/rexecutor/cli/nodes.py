"""`rexecutor nodes`: the workers that a store knows."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from rexecutor.cli.output import write_json, write_line, write_table
from rexecutor.cli.store import AsJson, Store, use_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rexecutor.backend.base import Backend
    from rexecutor.backend.messages import StoredNode

HEADINGS: Final = ("node", "version", "running", "slots", "up", "lease", "lag", "executors")


def nodes(*, store: Store, json: AsJson = False) -> None:
    """List the nodes: each running Rexecutor, with what it runs, when it last renewed its lease, and its loop lag.

    A node renews its lease six times in the lease's length; if two of these heartbeats are missed, it is marked as
    late. What it says of itself, such as how many jobs run, is as old as its last heartbeat. Dead nodes are listed
    until others have taken their jobs.
    """

    async def find(backend: "Backend") -> "Sequence[StoredNode]":
        return await backend.nodes()

    found = use_store(store, find)
    if json:
        write_json([_as_json(node) for node in found])
    elif found:
        write_table(HEADINGS, map(_row, found), shrinks=("executors", "node"))
    else:
        write_line("no node: no worker has started, or all have ended")


def _row(node: "StoredNode") -> tuple[str, ...]:
    from rexecutor.answers.spans import relative, span  # not needed for --help

    lease = relative(node.renewed_at, node.seen_at, coarse=True)
    if node.is_late:
        lease = f"late: {lease}"
    elif not node.is_live:
        lease = f"ran out {relative(node.lease_until, node.seen_at, coarse=True)}"
    up = span(timedelta(seconds=int((node.seen_at - node.started_at).total_seconds())), coarse=True)
    if node.state is None:
        return (node.name, "?", "?", "?", up, lease, "?", "?")
    return (
        node.name,
        node.state.version,
        f"{node.state.running}" + (f" ({node.state.stuck} stuck)" if node.state.stuck else ""),
        str(node.state.slots),
        up,
        lease,
        span(timedelta(seconds=node.state.loop_lag)),
        ", ".join(node.state.executors),
    )


def _as_json(node: "StoredNode") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "id": node.id,
        "name": node.name,
        "is_live": node.is_live,
        "is_late": node.is_late,
        "started_at": node.started_at,
        "renewed_at": node.renewed_at,
        "lease_until": node.lease_until,
        "seen_at": node.seen_at,
        "state": None if node.state is None else asdict(node.state),
    }
