"""Model steps that the clock calls for: ticks of schedules, pruning, and duties that one node holds at a time."""

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import rule

from rexecutor.model import rules
from rexecutor.model.job import NodeId
from rexecutor.model.pruning import PruneSpec
from rexecutor.model.schedules import Schedule
from rexecutor.model.where import Everything
from rexecutor.testing.suite import generate
from rexecutor.testing.suite.model_base import ModelBase


class PeriodicModel(ModelBase):
    """Steps that take ticks, prune jobs, and hold or release duties."""

    @rule(schedules=generate.schedules, up_for=st.none() | generate.spans)
    def tick(self, schedules: list[Schedule], up_for: timedelta | None) -> None:
        """Take ticks, as a node that has been up for `up_for`, or as one that has just started if None."""
        up_since = None if up_for is None else self.clock.now() - up_for
        before = self.mirror.last_id
        ticked = self.run(self.backend.tick(schedules, up_since=up_since))

        taken, next_tick, jobs = self.mirror.tick(schedules, up_since)
        assert ticked.now == self.clock.now()
        assert list(ticked.taken) == taken
        assert ticked.next_tick == next_tick
        added = self.run(self.backend.query(Everything(), after=before))
        assert len(added) == len(jobs)
        for job, record in zip(jobs, added, strict=True):
            self.mirror.enqueue(job, record.id)

    @rule(step=generate.steps, schedules=generate.schedules, up_for=st.none() | generate.spans)
    def wait_and_tick(self, step: timedelta, schedules: list[Schedule], up_for: timedelta | None) -> None:
        """Let time pass, then take ticks."""
        self.clock.advance(step)
        self.mirror.note_time()
        self.tick(schedules, up_for)

    @rule(spec=generate.prune_specs, limit=st.integers(1, 5))
    def prune(self, spec: PruneSpec, limit: int) -> None:
        """Prune at most `limit` ended jobs."""
        deleted = self.run(self.backend.prune(spec, limit))

        doomed = rules.prunable(spec, self.mirror.records.values(), self.clock.now())[:limit]
        assert deleted == len(doomed)
        self.mirror.forget(doomed)

    @rule(name=st.sampled_from("ab"), node_id=generate.node_ids)
    def acquire_lock(self, name: str, node_id: NodeId) -> None:
        """Ask for a lock, as a node with or without a lease."""
        is_held = self.run(self.backend.acquire_lock(name, node_id))

        assert is_held == self.mirror.acquire_lock(name, node_id)

    @rule(name=st.sampled_from("ab"), node_id=generate.node_ids)
    def release_lock(self, name: str, node_id: NodeId) -> None:
        """Release a lock, whether the node holds it or not."""
        self.run(self.backend.release_lock(name, node_id))

        if self.mirror.duties.get(name) == node_id:
            del self.mirror.duties[name]
