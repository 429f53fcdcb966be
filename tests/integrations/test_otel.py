"""What OpenTelemetry receives: spans of enqueues and runs, linked through the job, and metrics."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import SpanKind, StatusCode

from rexecutor import Enqueueing, InMemoryBackend, Job, Rexecutor, SQLiteBackend, enqueue_many
from rexecutor.events import Queue, QueuesMeasured
from rexecutor.jobs.middleware import add_around_enqueue
from rexecutor.otel import OpenTelemetry, OpenTelemetryMetrics
from tests.engine.executors import Quick
from tests.engine.scripted import Blocking, Scripted, raising
from tests.engine.test_middleware import InProcess
from tests.support import soon


class Traced:
    """A tracer whose spans stay in memory."""

    def __init__(self, sampler: Sampler = ALWAYS_ON, **settings: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.traces = OpenTelemetry(self.provider, **settings)

    def rexecutor(self, backend: Any, *executors: Any) -> Rexecutor:
        """Return a `Rexecutor` that is traced."""
        return Rexecutor(
            backend,
            executors=executors,
            around_enqueue=[self.traces.around_enqueue],
            around_execute=[self.traces.around_execute],
        )

    @property
    def spans(self) -> dict[str, Any]:
        """The spans that have ended, by name."""
        return {span.name: span for span in self._exporter.get_finished_spans()}

    async def run(self, executor: Any, data: str = "x") -> Job[Any]:
        """Run one job to its end."""
        backend = InMemoryBackend()
        async with self.rexecutor(backend, executor):
            handle = await executor.builder().with_data(data).with_max_attempts(1).enqueue(backend=backend)
            return await soon(handle.wait(), 60)


@pytest.mark.parametrize("kind", [Scripted, Blocking])
async def test_a_run_is_a_trace_of_its_own_with_a_link_to_its_enqueue(kind: type[Scripted | Blocking]) -> None:
    traced = Traced()
    tracer = traced.provider.get_tracer("app")

    with tracer.start_as_current_span("request"):
        job = await traced.run(kind(lambda _: tracer.start_span("inner").end()))

    request, enqueue, run = (traced.spans[name] for name in ("request", f"enqueue {kind.name}", f"run {kind.name}"))
    assert enqueue.parent == request.context
    assert (enqueue.kind, run.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert run.parent is None
    assert run.context.trace_id != request.context.trace_id
    assert [link.context.span_id for link in run.links] == [enqueue.context.span_id]
    assert traced.spans["inner"].parent == run.context
    assert dict(run.attributes or {}) == {
        "messaging.system": "rexecutor",
        "messaging.operation.type": "process",
        "messaging.destination.name": kind.name,
        "messaging.message.id": str(job.id),
        "rexecutor.attempt": 1,
    }
    assert (enqueue.attributes or {})["messaging.message.id"] == str(job.id)


async def test_a_run_may_continue_the_trace_of_its_enqueue() -> None:
    traced = Traced(continues_trace=True)

    await traced.run(Scripted(lambda _: None))

    enqueue, run = traced.spans["enqueue scripted"], traced.spans["run scripted"]
    assert run.parent is not None
    assert run.parent.span_id == enqueue.context.span_id
    assert [link.context.span_id for link in run.links] == [enqueue.context.span_id]


async def headers_give(traced: Traced, **headers: str) -> Any:
    """Run a job that was sent with these headers, and return the span of the run."""

    @contextmanager
    def send(enqueueing: Enqueueing) -> Generator[None]:
        enqueueing.headers.update(headers)
        yield

    backend = InMemoryBackend()
    executor = Scripted(lambda _: None)
    around = traced.traces.around_execute
    async with Rexecutor(backend, executors=[executor], around_enqueue=[send], around_execute=[around]):
        await soon((await Scripted.builder().with_data("x").enqueue(backend=backend)).wait())
    return traced.spans["run scripted"]


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize("continues_trace", [False, True])
@pytest.mark.parametrize(
    ("headers", "flags", "state"),
    [
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, 1, {}),
        ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, 0, {}),
        ({"traceparent": f"00-{TRACE}-{SPAN}-03"}, 3, {}),
        ({"traceparent": f" 00-{TRACE}-{SPAN}-01"}, 1, {}),
        ({"traceparent": f"cc-{TRACE}-{SPAN}-01-new"}, 1, {}),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=7"}, 1, {"vendor": "7"}),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01", "baggage": "tenant=7"}, 1, {}),
    ],
)
async def test_a_run_is_linked_to_the_span_that_its_headers_name(
    headers: dict[str, str], flags: int, state: dict[str, str], *, continues_trace: bool
) -> None:
    traced = Traced(ParentBased(ALWAYS_ON, remote_parent_not_sampled=ALWAYS_ON), continues_trace=continues_trace)

    run = await headers_give(traced, **headers)

    (link,) = run.links
    origin = link.context
    assert (origin.trace_id, origin.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert (origin.is_remote, origin.trace_flags, dict(origin.trace_state)) == (True, flags, state)
    assert run.parent == (origin if continues_trace else None)


@pytest.mark.parametrize("text", [f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", "00-7-7-01", "", f"{TRACE}"])
async def test_headers_that_name_no_span_give_no_link(text: str) -> None:
    run = await headers_give(Traced(), traceparent=text)

    assert (run.links, run.parent) == ((), None)


class ByNumber(TextMapPropagator):
    """Reads the ids of a span as decimal numbers from the header `traceparent`."""

    def extract(self, carrier: Any, context: Any = None, getter: Any = default_getter) -> context.Context:
        trace_id, span_id = getter.get(carrier, "traceparent")[0].split()
        origin = trace.SpanContext(int(trace_id), int(span_id), is_remote=True)
        return trace.set_span_in_context(trace.NonRecordingSpan(origin), context)

    def inject(self, carrier: Any, context: Any = None, setter: Any = None) -> None: ...

    @property
    def fields(self) -> set[str]:
        return {"traceparent"}


async def test_the_propagator_that_the_application_has_set_reads_the_headers() -> None:
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(ByNumber())
    try:
        run = await headers_give(Traced(), traceparent="7 8")
    finally:
        propagate.set_global_textmap(before)

    assert [(link.context.trace_id, link.context.span_id) for link in run.links] == [(7, 8)]


async def test_without_a_propagator_there_is_no_link() -> None:
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(CompositePropagator([]))
    try:
        run = await headers_give(Traced(), traceparent=f"00-{TRACE}-{SPAN}-01")
    finally:
        propagate.set_global_textmap(before)

    assert run.links == ()


async def test_baggage_of_the_enqueue_is_there_in_the_run() -> None:
    traced, found = Traced(), list[Any]()
    token = context.attach(baggage.set_baggage("tenant", "7"))

    await traced.run(Scripted(lambda _: found.append(baggage.get_baggage("tenant"))))
    context.detach(token)

    assert found == ["7"]


async def test_an_error_is_in_the_span_of_the_run() -> None:
    traced = Traced()

    await traced.run(Scripted(raising(ValueError("no luck"))))

    run = traced.spans["run scripted"]
    assert (run.status.status_code, run.status.description) == (StatusCode.ERROR, "ValueError")
    assert [(event.attributes or {})["exception.message"] for event in run.events] == ["no luck"]


async def test_a_span_is_not_too_large_for_an_exporter() -> None:
    traced = Traced()

    await traced.run(Scripted(raising(ValueError("no luck" + "x" * 3_000_000))))

    [event] = traced.spans["run scripted"].events
    attributes: dict[str, Any] = dict(event.attributes or {})
    texts = [str(attributes[name]) for name in ("exception.message", "exception.stacktrace")]
    assert texts[0].startswith("no luck")
    assert "raise error" in texts[1]
    assert sum(map(len, texts)) < 100_000


class HostileError(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


async def test_an_exception_that_cannot_be_shown_is_still_the_jobs_error() -> None:
    traced = Traced()

    job = await traced.run(Scripted(raising(HostileError())))

    assert traced.spans["run scripted"].status.description == "HostileError"
    assert job.errors[-1].type_name == "HostileError"


async def test_an_enqueue_of_several_executors_is_one_span() -> None:
    traced, backend = Traced(), InMemoryBackend().paused()

    async with traced.rexecutor(backend):
        await enqueue_many([Quick.builder(), Scripted.builder().with_data("x")], backend=backend)

    assert (traced.spans["enqueue"].attributes or {})["messaging.batch.message_count"] == 2


def test_a_synchronous_enqueue_has_a_span_too(tmp_path: Path) -> None:
    traced, backend = Traced(), SQLiteBackend(tmp_path / "jobs.db")
    remove = add_around_enqueue(traced.traces.around_enqueue, backend)

    handle = Quick.builder().enqueue_sync(backend=backend)
    remove()

    span = traced.spans["enqueue quick"]
    assert f"{span.context.trace_id:032x}" in handle.fetch_sync().headers["traceparent"]


async def test_the_run_of_a_child_process_has_its_span_in_the_parent(tmp_path: Path) -> None:
    traced = Traced()

    await traced.run(InProcess(tmp_path / "notes"))

    assert len(traced.spans["run in_process"].links) == 1


async def test_without_the_sdk_set_up_jobs_run() -> None:
    traces, found = OpenTelemetry(), list[Any]()
    backend = InMemoryBackend()

    async with Rexecutor(
        backend,
        executors=[Scripted(lambda _: found.append(trace.get_current_span()))],
        around_enqueue=[traces.around_enqueue],
        around_execute=[traces.around_execute],
    ):
        job = await soon((await Scripted.builder().with_data("x").enqueue(backend=backend)).wait())

    assert len(found) == 1
    assert job.headers == {}


async def test_metrics_are_counted(tmp_path: Path) -> None:
    reader = InMemoryMetricReader()
    metrics = OpenTelemetryMetrics(MeterProvider([reader]))
    backend = InMemoryBackend()

    async with Rexecutor(backend, executors=[Quick], on_event=metrics):
        await soon((await Quick.builder().enqueue(backend=backend)).wait())
        metrics(QueuesMeasured((Queue("quick", 5, 2, 1.5, 3, 100),)))

    data: Any = reader.get_metrics_data()
    found = {
        one.name: point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for one in scope.metrics
        for point in one.data.data_points
        if getattr(point, "value", None) != 0  # counts that have only begun
    }
    assert found["rexecutor.jobs_enqueued"].value == 1
    assert dict(found["rexecutor.jobs_ended"].attributes) == {"executor": "quick", "status": "complete"}
    assert found["rexecutor.job_run"].count == 1
    assert found["rexecutor.jobs_waiting"].value == 5
