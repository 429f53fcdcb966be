"""The admin's list of jobs: an order, pages and filters that stay quick with millions of jobs."""

from typing import TYPE_CHECKING, Any, Final

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Q
from django.db.models.expressions import RawSQL
from django.http import HttpRequest
from django.utils.functional import cached_property

from rexecutor.django.fields import Text, text_of
from rexecutor.django.models import Job, table_of
from rexecutor.model.job import is_storable
from rexecutor.model.status import WAITING, JobStatus

if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator

MOST_LISTED: Final = 10_000
"""Maximum number of jobs that the list counts and shows."""
OF_TASKS: Final = "django."
"""What the names of the executors of tasks begin with."""
MOST_EXECUTORS: Final = 100
"""Maximum number of executors that the filter offers."""
_COLUMNS: Final = ("id", "status", "executor", "attempt", "max_attempts", "priority", "scheduled_at", "ended_at")
_EXECUTORS: Final = """
WITH RECURSIVE names (name) AS (
    SELECT min(executor) FROM {table}
    UNION ALL
    SELECT (SELECT min(executor) FROM {table} WHERE executor > names.name) FROM names WHERE names.name IS NOT NULL
)
SELECT {name} FROM names WHERE name IS NOT NULL LIMIT %s
"""
_TASK_PATH: Final = {
    "postgresql": "CASE WHEN executor LIKE 'django.%%' THEN left(data ->> 'path', 200) END",
    "sqlite": """CASE WHEN executor LIKE 'django.%%' AND json_valid(data)
        THEN substr(json_extract(data, '$.path'), 1, 200) END""",
}
"""SQL for the path of a task's function, NULL for other jobs. It does not fail for damaged data."""


class CappedPaginator(AnyPaginator):
    """Pages of the first `MOST_LISTED` objects; the others are not counted."""

    @cached_property
    def count(self) -> int:
        """Number of objects, at most `MOST_LISTED`."""
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
        if value is None:
            return queryset
        return queryset.filter(_in_status(value, queryset.db)) if value in set(map(str, JobStatus)) else queryset.none()


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
        if value is None:
            return queryset
        return queryset.filter(executor=value) if is_storable(value) else queryset.none()


def executors_with_jobs() -> list[str]:
    """Return the first `MOST_EXECUTORS` names of executors that have jobs, in order. Each is one step along an index.

    Raises:
        ConfigurationError: The settings name no database for jobs.
    """
    connection = connections[Job.objects.all().db]
    table = connection.ops.quote_name(table_of("stored_jobs"))
    name = "CAST(name AS BLOB)" if connection.vendor == "sqlite" else "name"  # it may not be UTF-8
    with connection.cursor() as cursor:
        cursor.execute(_EXECUTORS.format(table=table, name=name), [MOST_EXECUTORS])
        return [str(text_of(found)) for (found,) in cursor.fetchall()]


def oldest_listed() -> int:
    """Return the id of the oldest of the newest `MOST_LISTED` jobs; 0 if there are fewer."""
    newest = Job.objects.order_by("-pk").values_list("pk", flat=True)
    return next(iter(newest[MOST_LISTED - 1 : MOST_LISTED]), 0)


def _in_status(status: str, database: str) -> Q:
    """Return the condition for a status; one with an index if it is that of executing or waiting jobs."""
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
        found = super().get_queryset(request, exclude_parameters).only(*_COLUMNS)
        path = RawSQL(_TASK_PATH[connections[found.db].vendor], (), output_field=Text())  # noqa: S611 - constants
        return found.annotate(task_path=path)

    def get_results(self, request: HttpRequest) -> None:
        """Find the jobs of the page. If the count is 0, do not query again: most conditions have no index."""
        super().get_results(request)
        if not self.result_count:
            self.result_list = self.queryset.none()

    def get_ordering(self, request: HttpRequest, queryset: Any) -> Any:  # noqa: ARG002 - Django's signature
        """Return the newest first, and ignore the order in the URL: no other order has an index."""
        return ["-pk"]
