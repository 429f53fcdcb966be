"""The port's operations on a given connection: claim, settle and prune.

Enqueues and most other operations are scripts of `Statements`; heartbeats are in `heartbeat.py`, locks in `backend.py`.
Claim, settle and rescue are single statements that do in SQL what `rules` does in Python. `rules` itself makes every
rarer change, on rows that are read, locked and written back in one transaction.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg.errors import UniqueViolation

from rexecutor.backend.messages import Claim, Demand
from rexecutor.backend.postgres.connection import Connection
from rexecutor.backend.postgres.execution import run, run_steps
from rexecutor.backend.postgres.low_marks import LowMarks
from rexecutor.backend.postgres.rows import read_claimed
from rexecutor.backend.postgres.statements import Statements, is_mixed
from rexecutor.clock import Clock
from rexecutor.model.job import JobId, Limits, NodeId
from rexecutor.model.outcomes import Settlement
from rexecutor.model.pruning import BeyondNewest, OlderThan, PruneSpec

PROMOTED: Final = 1_000
"""Maximum number of jobs that one claim marks as due, so that it stays short."""

_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\""})
"""Escapes for a quoted element in the text of an array."""


def claim_parameters(demand: Demand, node_id: NodeId, now: datetime | None) -> dict[str, Any]:
    """Return the parameters of `claim_jobs`, except `promoted`."""
    return {
        "node": node_id,
        # Arrays as texts: the driver needs a third of the time for them.
        "executors": "{" + ",".join([f'"{executor.translate(_ESCAPED)}"' for executor in demand.slots]) + "}",
        "slots": "{" + ",".join([str(min(slots, demand.limit)) for slots in demand.slots.values()]) + "}",
        "limit": demand.limit,
        "epoch": demand.epoch,
        "now": now,
    }


class Operations:
    """Performs the port's operations on a connection, within a transaction; single statements also in autocommit."""

    def __init__(self, statements: Statements, limits: Limits, clock: Clock) -> None:
        """Make the operations of one backend.

        Args:
            statements: Statements of the backend's schema.
            limits: Limits of the backend.
            clock: Clock of the backend, which may differ from the database's.
        """
        self._clock = clock
        self._statements = statements
        self._limits = limits
        self.marks: Final = LowMarks()

    async def claim(self, connection: Connection, demand: Demand, node_id: NodeId, now: datetime | None) -> Claim:
        """Take due jobs; see `Backend.claim`."""
        wanted = claim_parameters(demand, node_id, now)
        began = self._clock.monotonic()
        asked = now or self._clock.now()
        marks = None if now is not None else self.marks.wanted(demand.slots, began)
        try:
            if marks is None:
                statement = self._statements.of("claim_jobs", **wanted, promoted=False)
            else:
                statement = self._statements.of("claim_marked", **wanted, **marks, promoted=False)
            rows = await run(connection, statement)
        except UniqueViolation:
            await run(connection, self._statements.of("dequeue_running"))
            raise
        ended = self._clock.monotonic()
        if rows[0][1]:
            await run(connection, self._statements.of("promote_jobs", limit=PROMOTED, now=now))
            marks = None
            began, asked = self._clock.monotonic(), now or self._clock.now()
            rows = await run(connection, self._statements.of("claim_jobs", **wanted, promoted=True))
            ended = self._clock.monotonic()
        # Counted from the request: the next claim takes as long to reach the server. Counted from the reply, it would
        # come late.
        due_in: float | None = rows[0][0]
        next_due = None if due_in is None else asked + timedelta(seconds=due_in)
        jobs = [] if rows[0][2] is None else [read_claimed(row, node_id) for row in rows]
        if now is None:
            self.marks.note(jobs, began, ended, is_marked=marks is not None)
        return Claim(jobs, next_due if len(jobs) < demand.limit else None)

    async def settle(
        self, connection: Connection, settlements: Sequence[Settlement], now: datetime | None
    ) -> list[JobId]:
        """Record outcomes; return the jobs whose claim no longer holds."""
        async with connection.transaction() if is_mixed(settlements) else nullcontext():
            return await run_steps(connection, self._statements.settle(settlements, self._limits.errors, now))

    async def prune(self, connection: Connection, spec: PruneSpec, limit: int, now: datetime | None) -> int:
        """Delete ended jobs and return their number."""
        named = {"status": str(spec.status), "executors": sorted(spec.executors), "is_except": spec.is_except}
        match spec.what:
            case OlderThan(age):
                statement = self._statements.of("prune_older", **named, age=age, limit=limit, now=now)
            case BeyondNewest(kept):
                statement = self._statements.of("prune_beyond", **named, kept=kept, limit=limit)
        [[jobs]] = await run(connection, statement)
        return jobs
