"""Model steps of nodes: claims, outcomes and leases. Other steps move the clock."""

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from rexecutor.backend.messages import Demand, Node
from rexecutor.model import rules
from rexecutor.model.job import JobId, JobRecord, NodeId
from rexecutor.model.outcomes import Claimed, Complete, Expired, Interrupted, Lost, Outcome, Settlement
from rexecutor.model.status import JobStatus
from rexecutor.testing.suite import generate
from rexecutor.testing.suite.model_base import ModelBase


class WorkModel(ModelBase):
    """Steps that claim, settle, send heartbeats, deregister and release claims, and move the clock on or back."""

    @rule(demand=generate.demands, node_id=generate.node_ids, beats=generate.mostly)
    def claim(self, demand: Demand, node_id: NodeId, *, beats: bool) -> None:
        """Claim as a node that has just renewed its lease, or as one that may have none."""
        if beats:
            self.heartbeat(node_id, generate.LONG_LEASE)
        claim = self.run(self.backend.claim(demand, node_id))

        now = self.clock.now()
        expected: list[JobRecord] = []
        if self.mirror.lives(node_id):
            for executor, slots in demand.slots.items():
                if self.mirror.is_paused(executor):
                    continue
                queue = sorted(self.mirror.waiting(executor), key=rules.claim_order)
                expected += rules.claimable(queue, now, slots)
            expected = sorted(expected, key=rules.claim_order)[: demand.limit]
        assert list(claim.jobs) == [self.mirror.change(record, Claimed(node_id)) for record in expected]
        for job in claim.jobs:
            self.mirror.start(job)
        if self.mirror.lives(node_id) and len(expected) < demand.limit:
            self.mirror.check_next_due(claim.next_due)

    @precondition(lambda self: self.mirror.records)
    @rule(parts=generate.parts)
    def settle(self, parts: list[tuple[int, int, Outcome]]) -> None:
        """Settle with current, stale or forged claims, also for jobs that do not exist."""
        settlements: list[Settlement] = []
        for pick, fence, outcome in parts:
            record = self.mirror.pick(pick, JobStatus.EXECUTING if pick < 20 else None)
            settlements.append(Settlement(record.id, record.claims + fence, outcome))
        absent = [self.mirror.last_id + 1, *self.mirror.pruned[-1:]]
        settlements += [Settlement(job_id, 1, outcome) for job_id in absent for _, _, outcome in parts[:1]]
        refused = self.run(self.backend.settle(settlements))

        expected: list[JobId] = []
        for settlement in settlements:
            record = self.mirror.records.get(settlement.job_id)
            if record is None or not rules.holds_claim(record, settlement.claims):
                expected.append(settlement.job_id)
            else:
                self.mirror.end(record, settlement.outcome)
        assert sorted(refused) == sorted(expected)

    @precondition(lambda self: self.mirror.executing())
    @rule(share=st.floats(0, 1), outcome=generate.outcomes, results=generate.results)
    def settle_a_whole_batch(self, share: float, outcome: Outcome, results: Sequence[str | None]) -> None:
        """Settle all executing jobs at once, as a busy worker does: a share of them complete."""
        running = self.mirror.executing()
        done = int(len(running) * share)
        settlements = [
            Settlement(record.id, record.claims, Complete(results[number % 3]) if number < done else outcome)
            for number, record in enumerate(running)
        ]
        refused = self.run(self.backend.settle(settlements))

        assert list(refused) == []
        for record, settlement in zip(running, settlements, strict=True):
            self.mirror.end(record, settlement.outcome)

    @precondition(lambda self: self.mirror.waiting())
    @rule(node_id=generate.node_ids, parts=generate.parts)
    def work(self, node_id: NodeId, parts: list[tuple[int, int, Outcome]]) -> None:
        """Do what a busy node does: claim all due jobs and settle some of them."""
        self.claim(generate.EVERYTHING_DUE, node_id, beats=True)
        self.settle(parts)

    @rule(node_id=generate.node_ids, lease=generate.leases)
    def heartbeat(self, node_id: NodeId, lease: timedelta) -> None:
        """Renew a lease, which rescues the jobs of nodes without one, and cancels expired jobs."""
        heartbeat = self.heartbeats.send(Node(node_id, f"host:{node_id}", lease))

        self.mirror.renew(node_id, lease)
        lost = [record for record in self.mirror.executing() if not self.mirror.lives(record.node)]
        for record in lost:
            self.mirror.end(record, Lost())
        assert heartbeat.rescued == len(lost)
        expired = [record for record in self.mirror.waiting() if rules.is_expired(record, self.clock.now())]
        for record in expired:
            self.mirror.change(record, Expired())
        assert heartbeat.expired == len(expired)
        assert sorted((asked.job_id, asked.claims, asked.reason) for asked in heartbeat.cancels) == [
            (record.id, record.claims, record.cancel_reason)
            for record in self.mirror.executing()
            if record.node == node_id and record.cancel_reason is not None
        ]

    @rule(node_id=generate.node_ids)
    def deregister(self, node_id: NodeId) -> None:
        """End the node's lease."""
        self.heartbeats.deregister(node_id)

        self.mirror.leases.pop(node_id, None)

    @rule(node_id=generate.node_ids, held=st.lists(generate.picks, max_size=3))
    def release_claims(self, node_id: NodeId, held: list[int]) -> None:
        """Give back the node's claims, except those it holds."""
        claims = {self.mirror.pick(pick, JobStatus.EXECUTING).claim_id for pick in held if self.mirror.records}
        given_back = self.run(self.backend.release_claims(node_id, claims))

        mine = [
            record for record in self.mirror.executing() if record.node == node_id and record.claim_id not in claims
        ]
        for record in mine:
            self.mirror.end(record, Interrupted())
        assert given_back == len(mine)

    @rule(step=generate.steps)
    def advance(self, step: timedelta) -> None:
        """Let time pass, so that jobs become due and leases run out."""
        self.clock.advance(step)
        self.mirror.note_time()

    @rule(step=generate.small_steps)
    def set_the_clock_back(self, step: timedelta) -> None:
        """Set the wall clock back a little, as a time server may."""
        self.clock.jump(-step)
