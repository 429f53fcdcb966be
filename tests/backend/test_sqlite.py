"""The SQLite backend: the suite and the model."""

from pathlib import Path
from typing import ClassVar

from rexecutor.backend.sqlite import SQLiteBackend
from rexecutor.testing import BackendSuite, FakeClock, model_of


class TestSQLiteBackend(BackendSuite):
    shares_store: ClassVar[bool] = True

    def open_backend(self, clock: FakeClock, store: Path) -> SQLiteBackend:
        return SQLiteBackend(store / "jobs.db", clock=clock)


TestSQLiteModel = model_of(TestSQLiteBackend)
