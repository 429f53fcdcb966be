# pyright: basic, reportMissingImports=false
"""taskito: https://docs.byteveda.org/taskito. Its Rust core claims in batches and looks every millisecond."""

import taskito
from taskito import log_config

from benchmarks.adapters.harness import SLOTS, TO, URL, BlockingAdapter, body

log_config.configure(level="WARNING")  # by default each job costs two lines
store = {"backend": "postgres", "db_url": URL} if "://" in URL else {"db_path": URL or ":memory:"}
queue = taskito.Queue(
    **store,
    async_concurrency=SLOTS,
    scheduler_batch_size=100,
    scheduler_poll_interval_ms=1,
    push_dispatch=True,
    drain_timeout=2,
)


@queue.task(name="mail")
async def mail(to: str, order: int) -> None:  # noqa: ARG001
    await body(order)


class TaskitoAdapter(BlockingAdapter):
    def enqueue(self, order: int) -> object:
        return mail.delay(TO, order)

    def enqueue_many(self, orders: range) -> object:
        return queue.enqueue_many("mail", [(TO, order) for order in orders])

    def left(self) -> int:
        stats = queue.stats()
        return stats["pending"] + stats["running"]

    def work(self) -> object:
        return queue.run_worker()


ADAPTER = TaskitoAdapter
