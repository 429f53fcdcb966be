"""Traces and metrics for OpenTelemetry. Install the extra: `pip install 'rexecutor[otel]'`."""

import asyncio
import re
from collections.abc import Generator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from functools import lru_cache
from types import TracebackType
from typing import Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.metrics import Meter, MeterProvider, get_meter
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
)

from rexecutor.engine.failure import shown
from rexecutor.jobs.enqueue import Enqueueing
from rexecutor.model.job import Job, storable
from rexecutor.telemetry.metrics import BUCKETS, METRICS, Measuring, Metric, encodable

__all__ = ["OpenTelemetry", "OpenTelemetryMetrics"]

_NAME: Final = "rexecutor"
_LONGEST: Final = 32_768
"""Number of characters of an exception's message, and of its traceback. Exporters refuse messages of megabytes."""
_NO_PARENT: Final = context.Context()
_TRACE_PARENT: Final = "traceparent"
_W3C: Final = frozenset({_TRACE_PARENT, "tracestate", "baggage"})
"""The headers of OpenTelemetry's default propagator."""
_PLAIN: Final = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
"""A `traceparent` as it nearly always is: of the first version."""


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
        self._runs = _Runs(self._tracer, continues_trace=continues_trace)

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
        return _Run(self._runs, job)


class _Runs:
    """Starts the spans of runs."""

    def __init__(self, tracer: Tracer, *, continues_trace: bool) -> None:
        self._tracer = tracer
        self._continues_trace = continues_trace
        self._propagator: TextMapPropagator | None = None
        self._is_w3c = False

    def start(self, job: Job[Any, Any, Any]) -> tuple[Span, context.Context]:
        """Start the span of a run. Return it, and the context in which it is the current one."""
        sent, links = self._sent(job.headers) if job.headers else (_NO_PARENT, ())
        span = self._tracer.start_span(
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
        return span, trace.set_span_in_context(span, sent)  # with the baggage that was sent

    def _sent(self, headers: Mapping[str, str]) -> tuple[context.Context, tuple[Link, ...]]:
        """Return the context that was sent in the headers, and a link to its span.

        Propagators are slow. So a plain `traceparent` without `tracestate` and baggage is read here, if the propagator
        is the default one.
        """
        link: Link | None = None
        if "tracestate" not in headers and "baggage" not in headers and self._reads_w3c():
            link = _plain_link(headers.get(_TRACE_PARENT, ""))
        if link is None:
            sent = propagate.extract(headers, _NO_PARENT)
            link = Link(trace.get_current_span(sent).get_span_context())
        elif self._continues_trace:
            sent = trace.set_span_in_context(NonRecordingSpan(link.context), _NO_PARENT)
        else:
            sent = _NO_PARENT
        return sent, (link,) if link.context.is_valid else ()

    def _reads_w3c(self) -> bool:
        """Whether the application's propagator is the default one, as far as `traceparent` is concerned."""
        propagator = propagate.get_global_textmap()
        if propagator is not self._propagator:
            fields = propagator.fields
            self._is_w3c = type(propagator) is CompositePropagator and _TRACE_PARENT in fields and fields <= _W3C
            self._propagator = propagator
        return self._is_w3c


@lru_cache(maxsize=100)
def _plain_link(text: str) -> Link | None:
    """Return a link to what a plain `traceparent` names; None for any other. Jobs of one enqueue share the link."""
    found = _PLAIN.fullmatch(text)
    if found is None:
        return None
    trace_id, span_id, flags = (int(digits, 16) for digits in found.groups())
    return Link(SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags)))


class _Run(AbstractAsyncContextManager[None]):
    """The span of one run. It is asynchronous, so that it is the same for each kind of executor.

    Spans that the job starts are its children, in the job's thread too, which has a copy of the context.
    """

    __slots__ = ("_job", "_runs", "_span", "_token")

    def __init__(self, runs: _Runs, job: Job[Any, Any, Any]) -> None:
        self._runs = runs
        self._job = job
        self._span: Span = trace.INVALID_SPAN
        self._token: Any = None

    async def __aenter__(self) -> None:
        self._span, of_span = self._runs.start(self._job)
        self._token = context.attach(of_span)

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
