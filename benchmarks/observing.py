"""What it costs a drain to be observed: `python -m benchmarks.observing [jobs] [rounds]`.

Drains a backlog of jobs that do nothing, in SQLite, with one kind of observer after the other, in an order that changes
with each round. Prints the rate of each in the median, and as a ratio of the plain drain beside it; then the same of
the processor's time, which other programs disturb less.

`middleware` is a context manager that does nothing. `1 in 10` are traces of which a tenth is sampled. Two kinds show
the least that the SDK takes: in `bare spans` and `bare 1 in 10` the job itself starts and ends such a span, without a
link to its enqueue, and there is no middleware.
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Tracer
from prometheus_client import CollectorRegistry

from rexecutor import Executor, Job, Rexecutor, SQLiteBackend, enqueue_many
from rexecutor.events import Event
from rexecutor.jobs.middleware import add_around_enqueue
from rexecutor.otel import OpenTelemetry
from rexecutor.prometheus import PrometheusMetrics


class Nothing(Executor[int]):
    name = "nothing"

    async def execute(self, job: Job[int]) -> None: ...


class Spanning(Executor[int]):
    """Makes a span of its own run, such as `OpenTelemetry` makes."""

    name = "nothing"

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def execute(self, job: Job[int]) -> None:
        attributes = {
            "messaging.system": "rexecutor",
            "messaging.operation.type": "process",
            "messaging.destination.name": job.executor,
            "messaging.message.id": str(job.id),
            "rexecutor.attempt": job.attempt,
        }
        self._tracer.start_span("run nothing", kind=SpanKind.CONSUMER, attributes=attributes).end()


class Nowhere(SpanExporter):
    """Drops the spans."""

    def export(self, spans: Any) -> SpanExportResult:
        for span in spans:
            assert isinstance(span, ReadableSpan)
        return SpanExportResult.SUCCESS


_NOTHING = nullcontext()
_PROVIDERS: list[TracerProvider] = []
"""Those of the current drain, each of which has a thread until it is shut down."""


def provider(sampled: float) -> TracerProvider:
    made = TracerProvider(sampler=ParentBased(TraceIdRatioBased(sampled)))
    made.add_span_processor(BatchSpanProcessor(Nowhere()))
    _PROVIDERS.append(made)
    return made


def traces(sampled: float = 1.0) -> OpenTelemetry:
    return OpenTelemetry(provider(sampled))


def bare(sampled: float = 1.0) -> Executor[int]:
    return Spanning(provider(sampled).get_tracer("benchmark"))


def nothing_around(_: Job[Any, Any, Any]) -> nullcontext[None]:
    return _NOTHING


def ignore(_: Event) -> None:
    """Do nothing with the event."""


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": dict,
    "subscriber": lambda: {"on_event": ignore},
    "prometheus": lambda: {"on_event": PrometheusMetrics(CollectorRegistry())},
    "middleware": lambda: {"around_execute": [nothing_around]},
    "traces": lambda: {"around_execute": [traces().around_execute]},
    "bare spans": lambda: {"executors": [bare()]},
    "1 in 10": lambda: {"around_execute": [traces(0.1).around_execute]},
    "bare 1 in 10": lambda: {"executors": [bare(0.1)]},
}


async def drain(kind: str, jobs: int) -> tuple[float, float]:
    """Return the jobs a second, and a second of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        async with SQLiteBackend(Path(folder) / "jobs.db") as backend:
            settings: dict[str, Any] = {"executors": [Nothing], **KINDS[kind]()}
            # Traces send headers along, so that each run has a link. One enqueue is one span, and not measured.
            is_traced = kind in {"traces", "1 in 10"}
            remove = add_around_enqueue(traces().around_enqueue, backend) if is_traced else lambda: None
            for start in range(0, jobs, 1_000):
                await enqueue_many([Nothing.new(n) for n in range(start, min(start + 1_000, jobs))], backend=backend)
            remove()
            began, used = time.perf_counter(), time.process_time()
            async with Rexecutor(backend, **settings):
                while any(not count.status.has_ended for count in await backend.count()):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                return jobs / (time.perf_counter() - began), jobs / (time.process_time() - used)


def main() -> None:
    jobs, rounds = (int(text) for text in [*sys.argv[1:], "10000", "7"][:2])
    rates: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in random.sample(list(KINDS), len(KINDS)):
            rates[kind].append(asyncio.run(drain(kind, jobs)))
            while _PROVIDERS:
                _PROVIDERS.pop().shutdown()
    for which, unit in enumerate(("s", "s of the processor")):
        for kind, found in rates.items():
            ratio = statistics.median(
                [one[which] / plain[which] for one, plain in zip(found, rates["plain"], strict=True)]
            )
            rate = statistics.median([one[which] for one in found])
            print(f"{kind:12} {rate:8,.0f} jobs/{unit}  {ratio:.2f} of the plain drain")


if __name__ == "__main__":
    main()
