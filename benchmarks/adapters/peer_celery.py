# pyright: basic, reportMissingImports=false
"""Celery on Redis: https://docs.celeryq.dev, "Optimizing". 10 threads (prefork is slower), many jobs reserved."""

from celery import Celery

from benchmarks.adapters.harness import TO, URL, BlockingAdapter, blocking_body

app = Celery("bench", broker=URL or "redis://")
app.conf.update(
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    worker_prefetch_multiplier=128,
    broker_connection_retry_on_startup=True,
    broker_pool_limit=20,
    worker_hijack_root_logger=False,
)


@app.task(name="mail", max_retries=1)
def mail(to: str, order: int) -> None:  # noqa: ARG001
    blocking_body(order)


class CeleryAdapter(BlockingAdapter):
    def enqueue(self, order: int) -> object:
        return mail.delay(TO, order)

    def left(self) -> int:
        with app.connection_for_read() as connection:
            client = connection.default_channel.client
            return client.llen("celery") + client.hlen("unacked")

    def work(self) -> object:
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=WARNING"]
        return app.worker_main(["worker", "--pool=threads", "--concurrency=10", *quiet])


ADAPTER = CeleryAdapter
