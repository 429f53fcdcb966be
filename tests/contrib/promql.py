"""What queries in PromQL ask for, and what `rexecutor.prometheus` has."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import promql_parser
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggModifierType, AggregateExpr, BinaryExpr, Expr, VectorSelector

from rexecutor.events import (
    Complete,
    DutyFailed,
    Event,
    JobEnded,
    JobsEnqueued,
    JobsPruned,
    JobStarted,
    JobStuck,
    NodeMeasured,
    Queue,
    QueuesMeasured,
)
from rexecutor.model.status import JobStatus
from rexecutor.prometheus import PrometheusMetrics

OF_PROMETHEUS: Final = {"job", "instance"}
"""Labels that Prometheus gives to each series."""

_EVENTS: Final[list[Event]] = [
    JobsEnqueued(((1, "mail", "inserted"),)),
    JobStarted(1, "mail", 1, 0.5),
    JobEnded(1, "mail", 1, Complete(None), is_final=False, wait_seconds=0.5, run_seconds=0.1),
    JobsPruned(1, JobStatus.COMPLETE),
    JobStuck(1, "mail", 1, 1),
    DutyFailed("claim", OSError()),
    QueuesMeasured((Queue("mail", 1, 1, 1.0, 0, 100_000),)),
    NodeMeasured("1", 10, 1, 1.0, 0.1),
]
"""Use each label of each metric."""


def exposed() -> dict[str, set[str]]:
    """Return the names of all samples in the text for Prometheus, each with its labels."""
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    for event in _EVENTS:
        metrics(event)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    samples = [sample for family in families for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples if not sample.name.endswith("_created")}


@dataclass(frozen=True, slots=True)
class Asked:
    """One series that a query asks for."""

    name: str
    labels: frozenset[str]
    """Labels by which it is selected, grouped or matched."""


def asked(query: str) -> Iterator[Asked]:
    """Return what the query asks for.

    Raises:
        ValueError: It is not PromQL.
    """
    yield from _asked(promql_parser.parse(query), frozenset())


def _asked(expression: Expr, outer: frozenset[str]) -> Iterator[Asked]:
    match expression:
        case VectorSelector():
            own = {matcher.name for matcher in expression.matchers.matchers}
            yield Asked(expression.name or "", outer | own)
        case AggregateExpr():
            modifier = expression.modifier
            assert modifier is None or modifier.type == AggModifierType.By, "say which labels are kept"
            by = frozenset(modifier.labels if modifier else ())
            assert outer <= by, f"{set(outer - by)} are not there any more"
            yield from _asked(expression.expr, by)
        case BinaryExpr():
            matching = expression.modifier and expression.modifier.matching
            on = frozenset(matching.labels if matching else ())
            for side in (expression.lhs, expression.rhs):
                yield from _asked(side, outer | on)
        case _:
            for part in _parts(expression):
                yield from _asked(part, outer)


def _parts(expression: Expr) -> list[Expr]:
    inner: list[Expr | None] = [getattr(expression, name, None) for name in ("expr", "vector_selector")]
    return [part for part in [*inner, *getattr(expression, "args", ())] if part is not None]


def problems(query: str) -> list[str]:
    """Return what the query asks for that is not there."""
    has = exposed()
    found: list[str] = []
    for one in asked(query):
        if one.name not in has:
            found.append(f"{one.name} is not exposed")
        elif unknown := one.labels - has[one.name] - OF_PROMETHEUS:
            found.append(f"{one.name} has no label {', '.join(sorted(unknown))}")
    return found
