"""Traces and metrics for OpenTelemetry. Install the extra: `pip install 'rexecutor[otel]'`."""

import asyncio
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from types import TracebackType
from typing import Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.metrics import Meter, MeterProvider, get_meter
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

from rexecutor.engine.failure import shown
from rexecutor.jobs.enqueue import Enqueueing
from rexecutor.model.job import Job, storable
from rexecutor.telemetry.metrics import BUCKETS, METRICS, Measuring, Metric, encodable

__all__ = ["OpenTelemetry", "OpenTelemetryMetrics"]

_NAME: Final = "rexecutor"
_LONGEST: Final = 32_768
"""Number of characters of an exception's message, and of its traceback. Exporters refuse messages of megabytes."""
_NO_PARENT: Final = context.Context()


class OpenTelemetry:
    """Middleware that makes a span for each enqueue and for each attempt, linked through the job's headers.

    ```python
    traces = OpenTelemetry()
    Rexecutor(backend, around_enqueue=[traces.around_enqueue], around_execute=[traces.around_execute])
    ```

    An attempt begins a trace of its own, with a link to the span of its enqueue, because it may come much later, and
    there may be several. Each of the two also works alone.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None, *, continues_trace: bool = False) -> None:
        """Make the middleware.

        Args:
            tracer_provider: Where the spans go; None for OpenTelemetry's global provider, which may be set later.
            continues_trace: Whether an attempt also belongs to the trace of its enqueue, as a child of that span.
        """
        self._tracer: Tracer = trace.get_tracer(_NAME, tracer_provider=tracer_provider)
        self._continues_trace = continues_trace

    @contextmanager
    def around_enqueue(self, enqueueing: Enqueueing) -> Generator[None]:
        """Make a span of the enqueue, and write its context into the jobs' headers."""
        names = {job.executor.name for job in enqueueing.jobs}
        destination = names.pop() if len(names) == 1 else None
        attributes: dict[str, str | int] = {
            "messaging.system": _NAME,
            "messaging.operation.type": "send",
        }
        if destination is not None:
            attributes["messaging.destination.name"] = destination
        if len(enqueueing.jobs) > 1:
            attributes["messaging.batch.message_count"] = len(enqueueing.jobs)
        name = "enqueue" if destination is None else f"enqueue {destination}"
        with self._tracer.start_as_current_span(name, kind=SpanKind.PRODUCER, attributes=attributes) as span:
            propagate.inject(enqueueing.headers)
            yield
            if len(enqueueing.handles) == 1:
                span.set_attribute("messaging.message.id", str(enqueueing.handles[0].id))

    def around_execute(self, job: Job[Any, Any, Any]) -> AbstractAsyncContextManager[None]:
        """Return a context manager that makes a span of the run."""
        return _Run(self._tracer, job, continues_trace=self._continues_trace)


class _Run(AbstractAsyncContextManager[None]):
    """The span of one run. It is asynchronous, so that it is the same for each kind of executor.

    Spans that the job starts are its children, in the job's thread too, which has a copy of the context.
    """

    __slots__ = ("_continues_trace", "_job", "_span", "_token", "_tracer")

    def __init__(self, tracer: Tracer, job: Job[Any, Any, Any], *, continues_trace: bool) -> None:
        self._tracer = tracer
        self._job = job
        self._continues_trace = continues_trace
        self._span: Span = trace.INVALID_SPAN
        self._token: Any = None

    async def __aenter__(self) -> None:
        job = self._job
        sent, links = _NO_PARENT, None
        if job.headers:
            sent = propagate.extract(job.headers, _NO_PARENT)
            origin = trace.get_current_span(sent).get_span_context()
            if origin.is_valid:
                links = [Link(origin)]
        self._span = self._tracer.start_span(
            f"run {job.executor}",
            sent if self._continues_trace else _NO_PARENT,
            SpanKind.CONSUMER,
            {
                "messaging.system": _NAME,
                "messaging.operation.type": "process",
                "messaging.destination.name": job.executor,
                "messaging.message.id": str(job.id),
                "rexecutor.attempt": job.attempt,
            },
            links,
        )
        self._token = context.attach(trace.set_span_in_context(self._span, sent))  # with the baggage that was sent

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        context.detach(self._token)
        span = self._span
        if error is not None and span.is_recording():
            if kind is asyncio.CancelledError:
                span.set_status(Status(StatusCode.ERROR, "told to stop"))
            else:
                with suppress(BaseException):  # an exception's own methods may raise anything
                    texts = {"exception.message": str(error), "exception.stacktrace": shown(error)[1]}
                    span.record_exception(error, {name: storable(text, _LONGEST) for name, text in texts.items()})
                name = type.__dict__["__name__"].__get__(type(error))
                span.set_status(Status(StatusCode.ERROR, name))
        span.end()


class OpenTelemetryMetrics(Measuring):
    """A subscriber that counts events for OpenTelemetry: `Rexecutor(…, on_event=OpenTelemetryMetrics())`."""

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        """Make the instruments.

        Args:
            meter_provider: Where the metrics go; None for OpenTelemetry's global provider, which may be set later.
        """
        super().__init__()
        meter = get_meter(_NAME, meter_provider=meter_provider)
        self._instruments: dict[Metric, Any] = {metric: _instrument(meter, metric) for metric in METRICS}
        self._attributes: dict[tuple[Metric, tuple[str, ...]], dict[str, str]] = {}

    def add(self, metric: Metric, amount: int, *labels: str) -> None:
        """Add to a counter."""
        self._instruments[metric].add(amount, self._named(metric, labels))

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Note a value in a histogram."""
        self._instruments[metric].record(value, self._named(metric, labels))

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._instruments[metric].set(value, self._named(metric, labels))

    def _named(self, metric: Metric, labels: tuple[str, ...]) -> dict[str, str]:
        """Return the attributes with these values. They are kept, so that none are made for each job."""
        key = metric, labels
        found = self._attributes.get(key)
        if found is None:
            found = self._attributes[key] = dict(zip(metric.labels, map(encodable, labels), strict=True))
        return found


def _instrument(meter: Meter, metric: Metric) -> Any:
    name = f"{_NAME}.{metric.name}"
    unit = "s" if metric.unit else "1"
    match metric.kind:
        case "counter":
            return meter.create_counter(name, unit, metric.description)
        case "histogram":
            return meter.create_histogram(
                name, unit, metric.description, explicit_bucket_boundaries_advisory=list(BUCKETS)
            )
        case "gauge":
            return meter.create_gauge(name, unit, metric.description)
