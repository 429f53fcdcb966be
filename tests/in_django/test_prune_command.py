"""`manage.py rexecutor_prune`."""

import io

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from rexecutor.django.models import Job
from rexecutor.django.stores import Store, bound_store
from tests.in_django.databases import jobs_in
from tests.in_django.stored import NEW, new


def prune(*options: str) -> str:
    """Return what the command prints."""
    printed = io.StringIO()
    call_command("rexecutor_prune", "--status", "cancelled", *options, stdout=printed)
    return printed.getvalue().strip()


def test_ended_jobs_are_deleted_by_number_and_age(database: str) -> None:
    with jobs_in(database):
        bound = bound_store(Store(database))
        ids = [one.id for one in bound.enqueue_sync([NEW, NEW, new("other"), NEW])]
        for job in ids[:3]:
            bound.cancel_sync(job, "no")

        assert prune("--older-than", "1h") == "pruned 0 cancelled jobs"
        assert prune("--keep", "0", "--only", "mail", "--dry-run") == "would prune 2 cancelled jobs"
        assert prune("--keep", "0", "--except", "other") == "pruned 2 cancelled jobs"
        assert prune("--older-than", "0s", "--database", database) == "pruned 1 cancelled job"
        assert [job.pk for job in Job.objects.all()] == ids[3:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give either --older-than 31d or --keep 200"),
        (("--keep", "1", "--only", "a", "--except", "b"), "cannot be used together"),
        (("--keep", "-1"), "is not a number of jobs"),
        (("--keep", "9" * 30), "is not a number of jobs"),
        (("--older-than", "soon"), "soon"),
        (("--keep", "1", "--status", "scheduled"), "invalid choice"),
        (("--keep", "1", "--database", "nowhere"), "no task backend in TASKS has its jobs in the database"),
    ],
)
def test_options_that_are_wrong_are_reported(options: tuple[str, ...], message: str) -> None:
    with jobs_in("default"), pytest.raises(CommandError, match=message):
        prune(*options)


def test_jobs_in_memory_cannot_be_pruned_from_outside() -> None:
    with pytest.raises(CommandError, match="jobs in memory end with their process"):
        prune("--keep", "1")
