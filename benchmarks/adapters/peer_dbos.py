# pyright: basic, reportMissingImports=false
"""DBOS: https://docs.dbos.dev/python. One queue without limits, looked at every 100 ms (1 s by default)."""

import os
import threading

from dbos import DBOS, DBOSClient

from benchmarks.adapters.harness import TO, URL, BlockingAdapter, blocking_body


@DBOS.workflow(name="mail")
def mail(to: str, order: int) -> None:  # noqa: ARG001
    blocking_body(order)


def url() -> str:
    return URL.replace("postgresql://", "postgresql+psycopg://")


def launch() -> None:
    DBOS(
        config={
            "name": "bench",
            "system_database_url": url(),
            "application_version": "1",
            "executor_id": f"worker-{os.getpid()}",
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    DBOS.register_queue("mail", polling_interval_sec=0.1)


class DbosAdapter(BlockingAdapter):
    def prepare(self) -> None:
        launch()
        DBOS.destroy()

    def open(self) -> None:
        self.client = DBOSClient(system_database_url=url())

    def close(self) -> None:
        self.client.destroy()

    def enqueue(self, order: int) -> object:
        options = {"workflow_name": "mail", "queue_name": "mail", "app_version": "1"}
        return self.client.enqueue(options, TO, order)  # pyright: ignore[reportArgumentType]

    def left(self) -> int:
        import psycopg

        if not hasattr(self, "connection"):
            self.connection = psycopg.connect(URL, autocommit=True)
        unfinished = "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING', 'DELAYED')"
        row = self.connection.execute(unfinished).fetchone()
        assert row is not None
        return row[0]

    def work(self) -> object:
        launch()
        threading.Event().wait()
        return None


ADAPTER = DbosAdapter
