# pyright: basic, reportMissingImports=false
"""Huey on SQLite: https://huey.readthedocs.io. WAL, fsync; one consumer with four threads; no results."""

import huey

from benchmarks.adapters.harness import FAIL_EVERY, TO, URL, BlockingAdapter, blocking_body

app = huey.SqliteHuey(filename=URL or ":memory:", fsync=True, results=False)


@app.task(retries=1 if FAIL_EVERY else 0)
def mail(to: str, order: int) -> None:  # noqa: ARG001
    blocking_body(order)


class HueyAdapter(BlockingAdapter):
    def enqueue(self, order: int) -> object:
        return mail(TO, order)

    def left(self) -> int:
        return app.pending_count() + app.scheduled_count()

    def work(self) -> object:
        return app.create_consumer(workers=4, worker_type="thread").run()


ADAPTER = HueyAdapter
