"""What Prometheus reads: the metrics, their names on the page, and those of several processes."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.values import MutexValue

from rexecutor import Cancel, InMemoryBackend, Rexecutor, Snooze
from rexecutor.events import (
    DutyFailed,
    Event,
    JobEnded,
    JobsExpired,
    JobsPruned,
    JobsRescued,
    JobStarted,
    JobStuck,
    LeaseLost,
    LoopBlocked,
    NodeMeasured,
    NodeStarted,
    NodeStopped,
    Outcome,
    OutcomeRefused,
    Queue,
    QueuesMeasured,
    TicksEnqueued,
)
from rexecutor.model.job import ErrorKind, JobError
from rexecutor.model.outcomes import COMPLETE, Complete, Discarded, Expired, Failed
from rexecutor.model.status import JobStatus
from rexecutor.prometheus import PrometheusMetrics, exposition
from rexecutor.telemetry.metrics import METRICS, STATUSES
from rexecutor.testing import FakeClock
from tests.engine.executors import Quick
from tests.engine.scripted import SECOND, Scripted, raising
from tests.support import soon
from tests.telemetry.test_subscribers import returning

OPENMETRICS: Any = getattr(openmetrics, "generate_latest")  # noqa: B009 - it has no annotations
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"rexecutor_{name}", labels)


async def test_a_job_is_counted_from_its_enqueue_to_its_end(registry: CollectorRegistry, clock: FakeClock) -> None:
    backend = InMemoryBackend(clock=clock)
    handle = await Scripted.builder().with_data("x").schedule_in(SECOND).enqueue(backend=backend)
    clock.advance(4 * SECOND)
    executor = Scripted(lambda _: clock.advance(2 * SECOND))

    async with Rexecutor(backend, executors=[executor], on_event=PrometheusMetrics(registry)):
        await soon(handle.wait())
        await Scripted.builder().with_data("x").schedule_in(60 * SECOND).enqueue(backend=backend)

    assert value(registry, "jobs_enqueued_total", executor="scripted", disposition="inserted") == 1
    assert value(registry, "jobs_started_total", executor="scripted") == 1
    assert value(registry, "jobs_ended_total", executor="scripted", status="complete") == 1
    assert value(registry, "job_wait_seconds_sum", executor="scripted") == 3
    assert value(registry, "job_run_seconds_sum", executor="scripted") == 2
    assert value(registry, "job_run_seconds_bucket", executor="scripted", le="2.5") == 1
    assert value(registry, "job_run_seconds_bucket", executor="scripted", le="1.0") == 0


@pytest.mark.parametrize(
    ("script", "attempts", "status"),
    [
        (raising(ValueError("no luck")), 2, "retryable"),
        (raising(ValueError("no luck")), 1, "discarded"),
        (returning(Cancel("why")), 1, "cancelled"),
        (returning(Snooze(60 * SECOND)), 1, "snoozed"),
    ],
)
async def test_attempts_are_counted_by_how_they_ended(
    registry: CollectorRegistry, clock: FakeClock, script: Any, attempts: int, status: str
) -> None:
    backend, ended = InMemoryBackend(clock=clock), asyncio.Event()

    def note(event: Event) -> None:
        if isinstance(event, JobEnded):
            ended.set()

    async with Rexecutor(backend, executors=[Scripted(script)], on_event=[PrometheusMetrics(registry), note]):
        await Scripted.builder().with_data("x").with_max_attempts(attempts).enqueue(backend=backend)
        await soon(ended.wait())

    assert value(registry, "jobs_ended_total", executor="scripted", status=status) == 1


EVENTS: list[tuple[Event, str, dict[str, str], float]] = [
    (JobsRescued(2), "jobs_rescued_total", {}, 2),
    (JobsExpired(3), "jobs_expired_total", {}, 3),
    (JobsPruned(4, JobStatus.COMPLETE), "jobs_pruned_total", {"status": "complete"}, 4),
    (OutcomeRefused(7), "outcomes_refused_total", {}, 1),
    (JobStuck(7, "mail", 1, 1), "jobs_stuck_total", {"executor": "mail"}, 1),
    (DutyFailed("claim", OSError()), "duty_failures_total", {"duty": "claim"}, 1),
    (LeaseLost("7", 0), "leases_lost_total", {}, 1),
    (LoopBlocked(1.0, None, None, None, ""), "loop_blocked_total", {}, 1),
    (
        TicksEnqueued((("mail", "daily", datetime(2026, 8, 1, tzinfo=UTC)),)),
        "jobs_enqueued_total",
        {"executor": "mail", "disposition": "inserted"},
        1,
    ),
]


@pytest.mark.parametrize(("event", "name", "labels", "expected"), EVENTS)
def test_other_events_are_counted(
    registry: CollectorRegistry, event: Event, name: str, labels: dict[str, str], expected: float
) -> None:
    PrometheusMetrics(registry)(event)

    assert value(registry, name, **labels) == expected


def test_the_counts_of_a_nodes_executors_begin_with_0(registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics(registry)

    metrics(NodeStarted("1", "here:1", ("mail",), 10))

    assert value(registry, "jobs_started_total", executor="mail") == 0
    assert value(registry, "jobs_stuck_total", executor="mail") == 0
    assert [value(registry, "jobs_ended_total", executor="mail", status=status) for status in STATUSES] == [0] * 7


def test_a_second_node_leaves_the_counts_as_they_are(registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics(registry)
    error = JobError(1, ErrorKind.EXCEPTION, "SmtpError", "no such host", datetime(2026, 8, 1, tzinfo=UTC))

    metrics(JobEnded(7, "mail", 1, Failed(error, SECOND), is_final=True))
    metrics(NodeStarted("2", "here:2", ("mail",), 10))

    assert value(registry, "jobs_ended_total", executor="mail", status="discarded") == 1


def test_the_statuses_are_all_that_an_event_can_have() -> None:
    error = JobError(1, ErrorKind.EXCEPTION, "SmtpError", "no such host", datetime(2026, 8, 1, tzinfo=UTC))
    made = {
        Complete: Complete(None),
        Failed: Failed(error, SECOND),
        Discarded: Discarded(error),
        Snooze: Snooze(SECOND),
    }
    others = [kind for kind in get_args(Outcome) if kind not in made]
    outcomes = [*made.values(), *(object.__new__(kind) for kind in others)]

    statuses = {
        JobEnded(7, "mail", 1, outcome, is_final=is_final).status for outcome in outcomes for is_final in (False, True)
    }

    assert statuses == set(STATUSES)


def test_an_executor_without_jobs_has_an_empty_queue(registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics(registry)

    metrics(QueuesMeasured((Queue("mail", 5, 2, 1.5, 3, 100), Queue("tick", 1, 0, 0.0, 0, 100))))
    before = [value(registry, name, executor="mail") for name in QUEUE]
    metrics(QueuesMeasured((Queue("tick", 1, 0, 0.0, 0, 100),)))
    after = [value(registry, name, executor="mail") for name in QUEUE]

    assert (before, after) == ([5, 2, 1.5, 3], [0, 0, 0, 0])


QUEUE = ("jobs_waiting", "jobs_due", "oldest_due_seconds", "jobs_executing")


def test_a_name_that_is_no_text_does_not_fail_the_page(registry: CollectorRegistry) -> None:
    queue = Queue("\udcff", 1, 1, 0.0, 0, 100)

    PrometheusMetrics(registry)(QueuesMeasured((queue,)))

    assert b'executor="\\\\udcff"' in generate_latest(registry)


def test_nodes_of_one_process_are_added_up_until_they_stop(registry: CollectorRegistry) -> None:
    metrics = PrometheusMetrics(registry)

    metrics(NodeMeasured("1", 10, 4, 2.0, 0.1))
    metrics(NodeMeasured("2", 20, 5, None, 0.3))
    both = [value(registry, name) for name in NODE]
    metrics(NodeStopped("2", 0))
    one = [value(registry, name) for name in NODE]

    assert (both, one) == ([30, 9, 2.0, 0.3], [10, 4, 2.0, 0.1])


NODE = ("node_slots", "node_running", "lease_age_seconds", "loop_lag_seconds")


async def test_an_event_counts_once_however_many_instances_are_subscribed(registry: CollectorRegistry) -> None:
    backend = InMemoryBackend()

    async with (
        Rexecutor(backend, on_event=[PrometheusMetrics(registry), PrometheusMetrics(registry)]),
        Rexecutor(backend, on_event=PrometheusMetrics(registry)),
    ):
        await Quick.builder().enqueue(backend=backend)

    assert value(registry, "jobs_enqueued_total", executor="quick", disposition="inserted") == 1


def test_the_page_has_each_metric_with_its_labels(registry: CollectorRegistry) -> None:
    PrometheusMetrics(registry)
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `rexecutor_(\w+)` \| (\w+) \| ([^|]*) \|", page, re.MULTILINE)

    expected = [
        (
            metric.name + (metric.unit and "_seconds") + ("_total" if metric.kind == "counter" else ""),
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels),
        )
        for metric in METRICS
    ]
    assert rows == expected


@pytest.mark.parametrize("has_created", [False, True])
@pytest.mark.parametrize("show", [generate_latest, OPENMETRICS])
def test_attempts_are_shown_as_the_library_shows_its_own_metrics(
    monkeypatch: pytest.MonkeyPatch, show: Callable[[CollectorRegistry], bytes], *, has_created: bool
) -> None:
    monkeypatch.setattr("prometheus_client.metrics._use_created", has_created)
    monkeypatch.setattr("time.time", lambda: 17.5)
    error = JobError(1, ErrorKind.EXCEPTION, "SmtpError", "no such host", datetime(2026, 8, 1, tzinfo=UTC))
    failed = Failed(error, SECOND)
    events = [
        NodeStarted("1", "here:1", ("mail", "tick", "idle"), 10),
        *(JobStarted(7, "mail", 1, wait) for wait in (0.0, 0.001, 0.0011, 7200.0, 7200.1)),
        *(JobEnded(7, "mail", 1, COMPLETE, is_final=False, run_seconds=run) for run in (0.25, 9.5)),
        *(JobEnded(7, "mail", 1, failed, is_final=final, run_seconds=0.5) for final in (False, True)),
        JobEnded(8, "tick", 1, Expired(), is_final=False),
        JobEnded(9, "other", 1, Complete("1"), is_final=False, run_seconds=0.5),
    ]
    shown: list[set[str]] = []
    for value_class in (MutexValue, object):  # with another class the library keeps the values
        monkeypatch.setattr("rexecutor.prometheus.ValueClass", value_class)
        registry = CollectorRegistry()
        metrics = PrometheusMetrics(registry, buckets=[0.001, 0.25, 7200.0])
        for event in events:
            metrics(event)
        shown.append(set(show(registry).decode().splitlines()))

    ours, theirs = shown
    assert ours == theirs
    assert any(line.startswith("rexecutor_job_run_seconds_bucket") for line in ours)
    assert any("_created" in line for line in ours) == has_created


def test_buckets_that_make_no_sense_are_refused(registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="not in sorted order"):
        PrometheusMetrics(registry, buckets=[2.0, 1.0])


def test_a_part_of_the_registry_can_be_shown(registry: CollectorRegistry) -> None:
    PrometheusMetrics(registry)(JobStarted(7, "mail", 1, 1.5))

    text = generate_latest(registry.restricted_registry(["rexecutor_job_wait_seconds_sum"])).decode()

    assert [line for line in text.splitlines() if line[0] != "#"] == [
        'rexecutor_job_wait_seconds_sum{executor="mail"} 1.5'
    ]


PROGRAM = """\
import asyncio, sys
from rexecutor import InMemoryBackend, Rexecutor, job
from rexecutor.events import NodeMeasured, Queue, QueuesMeasured
from rexecutor.prometheus import PrometheusMetrics, exposition

@job
async def greet(name: str) -> None: ...

async def main() -> None:
    async with Rexecutor(InMemoryBackend(), executors=[greet], on_event=PrometheusMetrics()).set_global_backend():
        await (await greet.enqueue("Ada")).wait()
    PrometheusMetrics()(NodeMeasured("1", 10, 1, 1.0, 0.1))
    PrometheusMetrics()(QueuesMeasured((Queue("greet", 3, 3, 1.0, 0, 100),)))

asyncio.run(main())
if sys.argv[1:] == ["show"]:
    print(exposition()[1].decode())
"""


def test_metrics_of_several_processes_add_up(tmp_path: Path) -> None:
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM]

    for _ in range(2):
        subprocess.run(command, check=True, timeout=60, env=environ)
    shown = subprocess.run([*command, "show"], check=True, timeout=60, env=environ, capture_output=True, text=True)

    found = {
        (sample.name, sample.labels.get("status")): sample.value
        for family in text_string_to_metric_families(shown.stdout)
        for sample in family.samples
    }
    assert found["rexecutor_jobs_ended_total", "complete"] == 3
    assert found["rexecutor_job_run_seconds_count", None] == 3
    assert found["rexecutor_node_slots", None] == 30
    assert found["rexecutor_jobs_waiting", None] == 3


def test_a_file_that_a_process_is_about_to_write_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counter_1.db").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        (tmp_path / "counter_1.db").unlink(missing_ok=True)

    monkeypatch.setattr("time.sleep", pause)

    assert exposition()[1] == b""
    assert len(pauses) == 1


def test_the_exposition_of_one_process_is_that_of_its_registry() -> None:
    media_type, text = exposition()

    assert media_type.startswith("text/plain")
    assert b"python_info" in text
