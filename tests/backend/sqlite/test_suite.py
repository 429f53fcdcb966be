"""The SQLite backend: the suite and the model."""

from pathlib import Path
from typing import ClassVar

from rexecutor.backend.messages import Demand, Node
from rexecutor.backend.sqlite import SQLiteBackend
from rexecutor.testing import BackendSuite, FakeClock, model_of
from rexecutor.testing.suite.store import ALPHA, HOUR, SECOND, new_job
from tests.sqlite_rows import misplaced


class CheckedBackend(SQLiteBackend):
    """Compares the tables with each other before it closes."""

    async def close(self) -> None:
        wrong = misplaced(self.path) if self.is_open else []
        await super().close()
        assert not wrong, wrong


class TestSQLiteBackend(BackendSuite):
    shares_store: ClassVar[bool] = True

    def open_backend(self, clock: FakeClock, store: Path) -> SQLiteBackend:
        return CheckedBackend(store / "jobs.db", clock=clock)


TestSQLiteModel = model_of(TestSQLiteBackend)


async def test_a_beat_after_a_leap_of_the_wall_clock_rescues_nobody(tmp_path: Path) -> None:
    clock = FakeClock()
    async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as backend:
        await backend.enqueue([new_job()])
        heartbeats, other = backend.heartbeat_connection(), backend.heartbeat_connection()
        other.send(Node("other", "other", SECOND))
        assert len((await backend.claim(Demand({ALPHA: 1}, 1), "other")).jobs) == 1
        heartbeats.send(Node("node", "node", SECOND))
        clock.jump(HOUR)

        heartbeat = heartbeats.send(Node("node", "node", SECOND), rescues=True)

        heartbeats.close()
        other.close()
    assert heartbeat.rescued == 0
