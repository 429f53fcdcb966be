"""PostgreSQL keeps the port's promises, woken by notifications and by polling alone."""

from pathlib import Path

from rexecutor.testing import BackendSuite, FakeClock, model_of
from tests.postgres import Migrated, postgres_backend


class TestPostgresBackend(BackendSuite):
    shares_store = True

    def open_backend(self, clock: FakeClock, store: Path) -> Migrated:
        return postgres_backend(store, clock)


class TestPostgresBackendByPolling(BackendSuite):
    shares_store = True

    def open_backend(self, clock: FakeClock, store: Path) -> Migrated:
        return postgres_backend(store, clock, listens=False)


TestPostgresModel = model_of(TestPostgresBackend)
