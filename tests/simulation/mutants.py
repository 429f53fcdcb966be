"""Defects that the simulation must notice: each changes one thing of the library, as a slip of the pen would."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timedelta
from typing import Any, Final
from unittest.mock import patch

import msgspec

from rexecutor import InMemoryBackend
from rexecutor.backend.messages import Heartbeat, Node
from rexecutor.engine.buffer import Buffer
from rexecutor.engine.dispatcher import Dispatcher
from rexecutor.engine.lease import LeaseThread, LeaseWatch
from rexecutor.engine.settler import Settler
from rexecutor.model import rules
from rexecutor.model.job import ClaimId, JobRecord, Limits
from rexecutor.model.outcomes import Change, Claimed
from rexecutor.model.pruning import PruneSpec
from rexecutor.model.rules import Ticks, ticking
from rexecutor.model.schedules import Schedule, StoredSchedule
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import UniquenessCriteria

Mutant = AbstractContextManager[object]


def any_outcome_counts() -> Mutant:
    """The fence is gone: an outcome is recorded while the job executes, whoever runs it."""

    def holds_claim(record: JobRecord, claims: int) -> bool:
        return record.status is JobStatus.EXECUTING and claims > 0

    return patch.object(rules, "holds_claim", holds_claim)


def lost_claims_are_kept() -> Mutant:
    """What a claim took whose answer was lost is not given back."""

    async def forget(dispatcher: Dispatcher) -> None:
        dispatcher._claims_confirmed = True

    return patch.object(Dispatcher, "release_unconfirmed_claims", forget)


def outcomes_under_way_are_given_back() -> Mutant:
    """Giving back forgets that outcomes may be on their way."""

    def held(_: Settler) -> list[ClaimId]:
        return []

    return patch.object(Settler, "held", property(held))


def jobs_claimed_ahead_are_given_back() -> Mutant:
    """Giving back forgets the jobs that wait for a slot."""

    def held(_: Buffer) -> list[ClaimId]:
        return []

    return patch.object(Buffer, "held", property(held))


def jobs_claimed_ahead_outlive_the_lease() -> Mutant:
    """A node whose lease is lost starts the jobs that waited for a slot."""
    make = Buffer.__init__

    def careless(buffer: Buffer, **settings: Any) -> None:
        settings["may_start"] = lambda: True
        make(buffer, **settings)

    def idle(_: Buffer) -> None:
        """Keep the jobs."""

    patches = ExitStack()
    patches.enter_context(patch.object(Buffer, "__init__", careless))
    patches.enter_context(patch.object(Buffer, "give_back_all", idle))
    return patches


def no_node_fences_itself() -> Mutant:
    """A node that cannot renew its lease goes on."""
    step = LeaseWatch.step

    async def blind(watch: LeaseWatch, stop: Any) -> None:
        watch._fenced = True
        await step(watch, stop)

    return patch.object(LeaseWatch, "step", blind)


def outcomes_are_tried_once() -> Mutant:
    """An outcome that could not be delivered is forgotten."""
    step = Settler.step

    async def careless(settler: Settler) -> None:
        try:
            await step(settler)
        except Exception:
            settler._waiting.clear()
            raise

    return patch.object(Settler, "step", careless)


def jobs_start_early() -> Mutant:
    """A claim does not ask whether jobs are due."""
    transition = rules.transition

    def claimable(waiting: Iterable[JobRecord], _: datetime, most: int) -> Sequence[JobRecord]:
        return list(waiting)[:most]

    def lenient(record: JobRecord, change: Change, now: datetime, limits: Limits) -> JobRecord:
        later = timedelta(days=1 if isinstance(change, Claimed) else 0)
        return transition(record, change, now + later, limits)

    patches = ExitStack()
    patches.enter_context(patch.object(rules, "claimable", claimable))
    patches.enter_context(patch.object(rules, "transition", lenient))
    return patches


def all_other_nodes_count_as_dead() -> Mutant:
    """A beat rescues the jobs of nodes that live."""
    heartbeat = InMemoryBackend.heartbeat

    def hasty(store: InMemoryBackend, node: Node, *, rescues: bool = True) -> Heartbeat:
        store._leases.clear()
        return heartbeat(store, node, rescues=rescues)

    return patch.object(InMemoryBackend, "heartbeat", hasty)


def nothing_is_unique() -> Mutant:
    """An enqueue with criteria finds no job that is there already."""

    def existing(_: UniquenessCriteria, found: Iterable[JobRecord]) -> None:
        list(found)

    return patch.object(rules, "pick_existing", existing)


def ticks_are_taken_again() -> Mutant:
    """A look at a schedule does not keep how far it has come."""
    look = ticking.advance

    def forgetful(
        schedule: Schedule, known: StoredSchedule | None, now: datetime, up_since: datetime | None
    ) -> tuple[Ticks, StoredSchedule]:
        ticks, kept = look(schedule, known, now, up_since)
        return ticks, kept if known is None else known

    return patch.object(ticking, "advance", forgetful)


def ticks_are_left_out() -> Mutant:
    """Of several ticks that are due only the newest is taken."""
    look = ticking.advance

    def idle(
        schedule: Schedule, known: StoredSchedule | None, now: datetime, up_since: datetime | None
    ) -> tuple[Ticks, StoredSchedule]:
        ticks, kept = look(schedule, known, now, up_since)
        return Ticks(ticks.due[-1:], ticks.next), kept

    return patch.object(ticking, "advance", idle)


def running_jobs_are_pruned() -> Mutant:
    """Pruning does not ask whether jobs have ended."""

    def prunable(spec: PruneSpec, records: Iterable[JobRecord], _: datetime) -> list[JobRecord]:
        return [record for record in records if spec.concerns(record.executor)][5:]

    return patch.object(rules, "prunable", prunable)


def attempts_are_not_counted_at_a_loss() -> Mutant:
    """A job may be started once more than it may be."""
    transition = rules.transition

    def generous(record: JobRecord, change: Change, now: datetime, limits: Limits) -> JobRecord:
        after = transition(record, change, now, limits)
        is_last = after.status is JobStatus.DISCARDED and after.losses > record.losses
        if is_last and after.losses < limits.losses:
            return msgspec.structs.replace(after, status=JobStatus.RETRYABLE, discarded_at=None)
        return after

    return patch.object(rules, "transition", generous)


def threads_are_left_behind() -> Mutant:
    """The lease's thread is not told that its node has stopped."""

    def deaf(_: LeaseThread) -> None:
        """Hear nothing."""

    return patch.object(LeaseThread, "end", deaf)


MUTANTS: Final[tuple[Callable[[], Mutant], ...]] = (
    any_outcome_counts,
    lost_claims_are_kept,
    outcomes_under_way_are_given_back,
    jobs_claimed_ahead_are_given_back,
    jobs_claimed_ahead_outlive_the_lease,
    no_node_fences_itself,
    outcomes_are_tried_once,
    jobs_start_early,
    all_other_nodes_count_as_dead,
    nothing_is_unique,
    ticks_are_taken_again,
    ticks_are_left_out,
    running_jobs_are_pruned,
    attempts_are_not_counted_at_a_loss,
    threads_are_left_behind,
)
