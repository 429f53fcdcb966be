"""The base of the model: a backend, a mirror that only `rules` change, and the comparison after every step."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from rexecutor.backend.base import Backend
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Everything
from rexecutor.testing.clock import FakeClock
from rexecutor.testing.suite.mirror import Mirror

T = TypeVar("T")

_ALL: Final = 1_000_000


class ModelBase(RuleBasedStateMachine):
    """Base of all parts of the model. Checks after every step that the backend and the mirror hold the same."""

    def open_backend(self, clock: FakeClock, store: Path) -> Backend:
        """Return a new backend, not open yet, that runs on the clock and keeps its jobs in the folder."""
        raise NotImplementedError

    def __init__(self) -> None:
        """Open a new backend on an empty folder."""
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = Path(tempfile.mkdtemp(prefix="rexecutor-model-"))
        self.clock = FakeClock()
        self.backend = self.open_backend(self.clock, self._folder)
        self.run(self.backend.open())
        self.heartbeats = self.backend.heartbeat_connection()
        self.mirror = Mirror(self.clock, self.backend.limits)

    def teardown(self) -> None:
        """Close the heartbeat connection, the backend and the event loop, and delete the folder."""
        self.heartbeats.close()
        self.run(self.backend.close())
        self._runner.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the backend in the model's event loop, and return its result."""
        return self._runner.run(work)

    @invariant()
    def every_record_is_the_models(self) -> None:
        """Compare all records of the backend with the mirror's, field by field."""
        found = self.run(self.backend.query(Everything(), limit=_ALL))

        assert list(found) == list(self.mirror.records.values())

    @invariant()
    def the_counts_are_the_models(self) -> None:
        """Compare the backend's job counts by executor and status with the mirror's."""
        counts = self.run(self.backend.count())

        expected: dict[tuple[str, JobStatus], int] = {}
        for record in self.mirror.records.values():
            key = (record.executor, record.status)
            expected[key] = expected.get(key, 0) + 1
        assert [((count.executor, count.status), count.jobs) for count in counts] == sorted(expected.items())

    @invariant()
    def every_record_is_coherent(self) -> None:
        """Check that the fields of every record fit its status (I6)."""
        self.mirror.check_coherence()

    @invariant()
    def the_pauses_are_the_models(self) -> None:
        """Compare the pauses in force with the mirror's."""
        assert list(self.run(self.backend.pauses())) == self.mirror.pauses_in_force()

    @invariant()
    def the_live_nodes_are_the_models(self) -> None:
        """Compare the leases that have not run out with the mirror's."""
        nodes = self.run(self.backend.nodes())

        live = {node.id: node.lease_until for node in nodes if node.is_live}
        assert live == self.mirror.leases_in_force()

    @invariant()
    def the_load_is_the_models(self) -> None:
        """Compare the number of jobs that wait, are due and execute, by executor, with the mirror's."""
        loads = self.run(self.backend.load())

        found = {load.executor: (load.waiting, load.due, load.executing, load.oldest_due) for load in loads}
        assert found == self.mirror.load()

    @invariant()
    def the_schedules_are_the_models(self) -> None:
        """Compare the backend's stored schedules with the mirror's."""
        schedules = self.run(self.backend.schedules())

        assert list(schedules) == [known for _, known in sorted(self.mirror.schedules.items())]
