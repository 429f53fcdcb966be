"""The models of jobs, pauses, nodes, schedules and groups: what is stored can be read, and nothing is changed."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from django.db.models import Count
from django.test import override_settings
from django.utils import timezone

from rexecutor.django.fields import Unreadable
from rexecutor.django.models import Group, Job, Node, Pause, Schedule
from rexecutor.django.stores import Store, bound_store
from rexecutor.errors import ConfigurationError
from rexecutor.model.job import NewJob
from tests.in_django.databases import jobs_in
from tests.in_django.stored import NEW, new

DUE = datetime(2031, 2, 3, 4, 5, 6, 789_012, UTC)
FULL = NewJob("mail", '{"to":["bob"]}', '{"by":1}', 4, 7, ("a", "b c"), DUE, timedelta(0), headers='{"x":"y"}')
CHANGES: list[Callable[[Any], object]] = [
    lambda job: job.save(),
    lambda job: job.delete(),
    lambda job: Job.objects.create(executor="x"),
    lambda job: Job.objects.get_or_create(pk=0),
    lambda job: Job.objects.update_or_create(pk=0),
    lambda job: Job.objects.bulk_create([job]),
    lambda job: Job.objects.bulk_update([job], ["executor"]),
    lambda job: Job.objects.update(executor="x"),
    lambda job: Job.objects.filter(pk=job.pk).delete(),
    lambda job: Job.objects.all()._raw_delete("default"),
    lambda job: job.save_base(raw=True),
]


def test_a_job_has_what_is_stored(database: str) -> None:
    with jobs_in(database):
        (stored,) = bound_store(Store(database)).enqueue_sync([FULL])

        job = Job.objects.get(pk=stored.id)

        assert (job.executor, job.status, job.due) == ("mail", "scheduled", False)
        assert (job.data, job.metadata, job.headers, job.result) == ({"to": ["bob"]}, {"by": 1}, {"x": "y"}, None)
        assert (job.attempt, job.max_attempts, job.priority, job.tags, job.errors) == (0, 4, 7, ["a", "b c"], [])
        assert (job.scheduled_at, job.ended_at) == (DUE, None)
        assert str(job) == f"{stored.id} (mail)"


def test_jobs_are_found_by_moments_and_counted(database: str) -> None:
    with jobs_in(database):
        bound_store(Store(database)).enqueue_sync([FULL, NEW, new("other")])
        microsecond = timedelta(microseconds=1)

        assert Job.objects.filter(scheduled_at=DUE).count() == 1
        assert Job.objects.filter(scheduled_at__gt=DUE - microsecond, scheduled_at__lt=DUE + microsecond).count() == 1
        assert Job.objects.filter(scheduled_at__gt=DUE).count() == 0
        assert Job.objects.filter(inserted_at__lte=timezone.now() + timedelta(hours=1)).count() == 3
        counted = Job.objects.values("executor").annotate(jobs=Count("pk")).order_by("executor")
        assert [(row["executor"], row["jobs"]) for row in counted] == [("mail", 2), ("other", 1)]
        assert Job.objects.latest("scheduled_at").data == {"to": ["bob"]}


def test_jobs_are_found_by_a_key_of_their_data(database: str) -> None:
    with jobs_in(database):
        task = '{"path":"shop.tasks.send","args":[],"kwargs":{}}'
        jobs = [new("django.default.default", data=task), new("a", data="[1]"), new("b", data='{"path":7}')]
        bound_store(Store(database)).enqueue_sync(jobs)

        found = Job.objects.filter(data__path="shop.tasks.send")

        assert [job.executor for job in found] == ["django.default.default"]
        assert [job.executor for job in Job.objects.filter(data__path__startswith="shop.")] == [found[0].executor]
        assert [job.executor for job in Job.objects.filter(data__path="7")] == ["b"]
        assert not Job.objects.filter(data__other="x").exists()


def test_a_key_of_data_that_are_no_json_is_not_found(sqlite_database: str) -> None:
    with jobs_in(sqlite_database), connections[sqlite_database].cursor() as cursor:
        bound_store(Store(sqlite_database)).enqueue_sync([NEW])
        cursor.execute("UPDATE rexecutor_stored_jobs SET data = '{'")

        assert not Job.objects.filter(data__path="x").exists()
        assert Job.objects.filter(data__path=None).exists()


def test_moments_are_naive_without_time_zones_as_those_of_other_models(database: str) -> None:
    with jobs_in(database), override_settings(USE_TZ=False, TIME_ZONE="Asia/Kolkata"):
        bound_store(Store(database)).enqueue_sync([FULL])

        local = datetime(2031, 2, 3, 9, 35, 6, 789_012)  # noqa: DTZ001 - as Django has it then
        assert Job.objects.get().scheduled_at == local
        assert Job.objects.filter(scheduled_at=local).exists()


def test_what_cannot_be_read_is_told_apart(sqlite_database: str) -> None:
    with jobs_in(sqlite_database), connections[sqlite_database].cursor() as cursor:
        bound_store(Store(sqlite_database)).enqueue_sync([NEW])
        cursor.execute("UPDATE rexecutor_stored_jobs SET data = '{', inserted_at = 9223372036854775807")

        job = Job.objects.get()

        assert job.data == "{"
        assert isinstance(job.data, Unreadable)
        assert job.inserted_at is None


@pytest.mark.parametrize("change", CHANGES)
def test_no_way_changes_a_job(sqlite_database: str, change: Callable[[Any], object]) -> None:
    with jobs_in(sqlite_database):
        bound_store(Store(sqlite_database)).enqueue_sync([NEW])

        with pytest.raises(TypeError, match="Job objects are read-only"):
            change(Job.objects.get())

        assert Job.objects.get().executor == "mail"


def test_the_other_models_show_what_the_store_has(database: str) -> None:
    with jobs_in(database):
        assert not [model for model in (Pause, Node, Schedule, Group) if model.objects.exists()]
        assert str(Node(name="host:1")) == "host:1"
        assert [str(Pause(scope=scope)) for scope in ("executor:mail", "*")] == ["mail", "*"]


def test_a_group_has_what_is_stored(database: str) -> None:
    with jobs_in(database):
        at = connections[database].ops.quote_name(Group._meta.db_table)
        moment = "now()" if connections[database].vendor == "postgresql" else "0"
        with connections[database].cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {at} (name, is_workflow, total, open, inserted_at) VALUES ('import', %s, 3, 2, {moment})",
                [True],
            )

        group = Group.objects.get(ended_at=None)

        assert (str(group), group.is_workflow, group.total, group.open, group.failed) == ("1 (import)", True, 3, 2, 0)
        assert group.inserted_at is not None


def test_without_a_database_for_jobs_reading_says_so() -> None:
    with pytest.raises(ConfigurationError, match="no task backend in TASKS has its jobs in a database"):
        Job.objects.count()


def test_jobs_may_be_dumped_but_not_loaded(database: str, tmp_path: Any) -> None:
    file = tmp_path / "jobs.json"
    with jobs_in(database):
        bound_store(Store(database)).enqueue_sync([NEW])

        call_command("dumpdata", "rexecutor", database=database, output=str(file), verbosity=0)

        assert '"executor": "mail"' in file.read_text()
        with pytest.raises((TypeError, CommandError), match="read-only"):
            call_command("loaddata", str(file), database=database, stdout=io.StringIO())
