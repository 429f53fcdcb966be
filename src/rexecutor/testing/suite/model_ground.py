"""The model's ground: a backend, a mirror that `rules` alone change, and the comparison after every step."""

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


class ModelGround(RuleBasedStateMachine):
    """What all parts of the model work with. After every step the backend and the mirror hold the same."""

    def open_backend(self, clock: FakeClock, store: Path) -> Backend:
        """Answer a new backend that runs on the clock and keeps its jobs in the folder, not open yet."""
        raise NotImplementedError

    def __init__(self) -> None:
        """Begin with an empty store."""
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = Path(tempfile.mkdtemp(prefix="rexecutor-model-"))
        self.clock = FakeClock()
        self.backend = self.open_backend(self.clock, self._folder)
        self.run(self.backend.open())
        self.heart = self.backend.heart()
        self.mirror = Mirror(self.clock, self.backend.limits)

    def teardown(self) -> None:
        """Close everything."""
        self.heart.close()
        self.run(self.backend.close())
        self._runner.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Answer what the backend answers."""
        return self._runner.run(work)

    @invariant()
    def every_record_is_the_models(self) -> None:
        """Compare all records, field by field."""
        found = self.run(self.backend.query(Everything(), limit=_ALL))

        assert list(found) == list(self.mirror.records.values())

    @invariant()
    def the_counts_are_the_models(self) -> None:
        """Compare the counts."""
        counts = self.run(self.backend.count())

        expected: dict[tuple[str, JobStatus], int] = {}
        for record in self.mirror.records.values():
            key = (record.executor, record.status)
            expected[key] = expected.get(key, 0) + 1
        assert [((count.executor, count.status), count.jobs) for count in counts] == sorted(expected.items())

    @invariant()
    def every_record_is_coherent(self) -> None:
        """Check what holds of a record in each status (I6)."""
        self.mirror.check_coherence()

    @invariant()
    def the_schedules_are_the_models(self) -> None:
        """Compare how far the schedules have come."""
        schedules = self.run(self.backend.schedules())

        assert list(schedules) == [known for _, known in sorted(self.mirror.schedules.items())]
