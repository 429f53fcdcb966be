# pyright: basic, reportMissingImports=false
"""Dramatiq on Redis: https://dramatiq.io. One worker process with 8 threads, as its command line has."""

import threading

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.adapters.harness import TO, URL, BlockingAdapter, blocking_body

broker = RedisBroker(url=URL or "redis://")
dramatiq.set_broker(broker)


@dramatiq.actor(actor_name="mail", max_retries=1, min_backoff=1, max_backoff=1)
def mail(to: str, order: int) -> None:  # noqa: ARG001
    blocking_body(order)


class DramatiqAdapter(BlockingAdapter):
    def enqueue(self, order: int) -> object:
        return mail.send(TO, order)

    def left(self) -> int:
        return broker.do_qsize("default")

    def work(self) -> object:
        dramatiq.Worker(broker, worker_threads=8).start()
        threading.Event().wait()
        return None


ADAPTER = DramatiqAdapter
