"""What keeps the admin's list of jobs quick, however many there are: its order, its pages and its filters."""

from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Q
from django.http import HttpRequest
from django.utils.functional import cached_property

from rexecutor.django.models import Job
from rexecutor.model.status import WAITING, JobStatus

if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator

MOST_LISTED: Final = 10_000
"""How many jobs a list counts and shows at most."""
MOST_EXECUTORS: Final = 100
"""How many executors the filter offers at most."""
_COLUMNS: Final = ("id", "status", "executor", "attempt", "max_attempts", "priority", "scheduled_at", "ended_at")


class CappedPaginator(AnyPaginator):
    """Pages of the first `MOST_LISTED` objects; the others are not counted."""

    @cached_property
    def count(self) -> int:
        """How many objects there are, or `MOST_LISTED` if there are more."""
        found: Any = self.object_list
        return found.order_by().values("pk")[:MOST_LISTED].count()


class StatusFilter(admin.SimpleListFilter):
    """The jobs in one status."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        """Return the statuses."""
        return [(str(status), str(status)) for status in JobStatus]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:  # noqa: ARG002 - Django's signature
        """Return the jobs in the chosen status."""
        value = self.value()
        return queryset if value is None else queryset.filter(_in_status(value, queryset.db))


class ExecutorFilter(admin.SimpleListFilter):
    """The jobs of one executor."""

    title = "executor"
    parameter_name = "executor"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        """Return the first executors that have jobs."""
        return [(name, name) for name in executors_with_jobs()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:  # noqa: ARG002 - Django's signature
        """Return the jobs of the chosen executor."""
        value = self.value()
        return queryset if value is None else queryset.filter(executor=value)


def executors_with_jobs() -> list[str]:
    """Return the first `MOST_EXECUTORS` names of executors that have jobs, in order. One step along an index for each.

    Raises:
        ConfigurationError: The settings name no database for jobs.
    """
    names: list[str] = []
    found: Any = Job.objects.order_by("executor").values_list("executor", flat=True)
    while len(names) < MOST_EXECUTORS:
        later = found.filter(executor__gt=names[-1]) if names else found
        name = later.first()
        if name is None or name in names:
            break
        names.append(name)
    return names


def _in_status(status: str, database: str) -> Q:
    """Return the condition that a job is in this status, so that few executing or waiting jobs are found at once."""
    is_postgres = connections[database].vendor == "postgresql"
    if status == JobStatus.EXECUTING:
        return Q(node__isnull=False)
    if status in set(map(str, WAITING)):
        return Q(status=status, due__isnull=False) if is_postgres else Q(status=status, ended_at__isnull=True)
    return Q(status=status)


class JobList(ChangeList):
    """The jobs, the newest first, without their data."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        """Return the jobs that the filters leave, with the columns of the list only."""
        return super().get_queryset(request, exclude_parameters).only(*_COLUMNS)

    def get_ordering(self, request: HttpRequest, queryset: Any) -> Any:  # noqa: ARG002 - Django's signature
        """Return the order, whatever the URL says: no other has an index."""
        return ["-pk"]
