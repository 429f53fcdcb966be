"""Django's admin: shows jobs, pauses, nodes and schedules; cancels and reruns jobs, and pauses executors."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.views.main import ChangeList
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from rexecutor.backend.messages import NewPause
from rexecutor.django.listing import (
    MOST_LISTED,
    OF_TASKS,
    CappedPaginator,
    ExecutorFilter,
    JobList,
    StatusFilter,
    oldest_listed,
)
from rexecutor.django.models import Job, Node, Pause, Schedule, shown_store
from rexecutor.django.shown import shown, shown_errors
from rexecutor.django.stores import bound_store
from rexecutor.errors import JobNotFoundError, JobStateError, RexecutorError
from rexecutor.model.status import ENDED, JobStatus

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    AnyModelAdmin = admin.ModelAdmin

MOST_CHANGED: Final = 1_000
"""Maximum number of jobs that one action changes."""
_ENDED: Final = frozenset(map(str, ENDED))
_LONGEST_ID: Final = 18
"""Maximum number of digits of a job's id in a search."""


class ReadOnlyAdmin(AnyModelAdmin):
    """Lists and shows objects, without forms to add, change or delete one."""

    actions: Any = None
    list_per_page = 100
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may see the application: False if the settings name no database for jobs."""
        return shown_store() is not None and super().has_module_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's signature
        """Return False."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's signature
        """Return False."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's signature
        """Return False."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:  # noqa: ARG002 - Django's signature
        """Return whether the lookup is that of a filter. Others have no index."""
        return lookup in ("status", "executor")


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """The jobs, the newest first."""

    list_display = ("id", "status", "executor", "task", "attempts", "priority", "scheduled_at", "ended_at")
    list_filter = (StatusFilter, ExecutorFilter)
    paginator = CappedPaginator
    list_max_show_all = 200
    search_fields = ("id",)
    search_help_text = (
        f"The id of a job, the name of an executor, or a part of a task's path. The list has at most the newest"
        f" {MOST_LISTED:,} jobs, and tasks are looked for among the newest {MOST_LISTED:,} of all."
    )
    actions: ClassVar[Any] = ("cancel_jobs", "rerun_jobs", "pause_executors")
    fieldsets = (
        (None, {"fields": ("id", "status", "executor_link", "attempts", "priority", "tags", "node", "cancel_reason")}),
        (
            "Moments",
            {
                "fields": (
                    *("inserted_at", "scheduled_at", "expires_at", "attempted_at"),
                    *("completed_at", "cancelled_at", "discarded_at"),
                )
            },
        ),
        ("Values", {"fields": ("shown_data", "shown_metadata", "shown_result", "shown_headers")}),
        ("Attempts that did not succeed", {"fields": ("shown_errors",)}),
    )

    def get_changelist(self, request: HttpRequest, **_: Any) -> type[ChangeList]:  # noqa: ARG002 - Django's signature
        """Return the class of the list."""
        return JobList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:  # noqa: ARG002 - Django's signature
        """Return the job with this id, the jobs of this executor, or new jobs of tasks whose path has the term."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.isdecimal() and len(term) <= _LONGEST_ID:
            return queryset.filter(pk=int(term)), False
        if Job.objects.filter(executor=term).exists():
            return queryset.filter(executor=term), False
        return queryset.filter(pk__gte=oldest_listed(), executor__startswith=OF_TASKS, data__path__contains=term), False

    @admin.display(description="task", empty_value="")
    def task(self, job: Any) -> str | None:
        """Return the path of the task that the job runs, in the list; None for other jobs."""
        return job.task_path

    @admin.display(description="attempt")
    def attempts(self, job: Job) -> str:
        """Return the number of attempts that have started, and the maximum."""
        return f"{job.attempt} of {job.max_attempts}"

    @admin.display(description="executor")
    def executor_link(self, job: Job) -> SafeString:
        """Return the executor's name as a link to its jobs."""
        url = reverse(
            "admin:rexecutor_job_changelist", current_app=self.admin_site.name, query={"executor": job.executor}
        )
        return format_html('<a href="{}">{}</a>', url, job.executor)

    @admin.display(description="data")
    def shown_data(self, job: Job) -> SafeString | str:
        """Return the data as HTML."""
        return shown(job.data)

    @admin.display(description="metadata")
    def shown_metadata(self, job: Job) -> SafeString | str:
        """Return the metadata as HTML."""
        return shown(job.metadata)

    @admin.display(description="result")
    def shown_result(self, job: Job) -> SafeString | str:
        """Return the result as HTML."""
        return shown(job.result)

    @admin.display(description="headers")
    def shown_headers(self, job: Job) -> SafeString | str:
        """Return the headers as HTML."""
        return shown(job.headers)

    @admin.display(description="errors")
    def shown_errors(self, job: Job) -> SafeString | str:
        """Return the errors as HTML, the last one first."""
        return shown_errors(job.errors)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may cancel jobs."""
        return _may(request, "cancel")

    def has_rerun_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may rerun jobs."""
        return _may(request, "rerun")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may pause executors and resume them."""
        return _may(request, "pause")

    @admin.action(permissions=["cancel"], description="Cancel selected jobs")
    def cancel_jobs(self, request: HttpRequest, queryset: Any) -> None:
        """Cancel the jobs that have not ended."""
        store = _bound()
        reason = f"cancelled in the admin by {request.user}"

        def cancel(job: Job) -> str:
            if str(job.status) in _ENDED:
                return "had ended before"
            status = store.cancel_sync(job.pk, reason)
            return {
                JobStatus.CANCELLED: "cancelled",
                JobStatus.EXECUTING: "will be cancelled by the worker that runs it",
            }.get(status, "had ended before")

        self._change(request, queryset, cancel, reason)

    @admin.action(permissions=["rerun"], description="Rerun selected jobs")
    def rerun_jobs(self, request: HttpRequest, queryset: Any) -> None:
        """Make the jobs that have ended due again."""
        store = _bound()

        def rerun(job: Job) -> str:
            try:
                store.rerun_sync(job.pk)
            except JobStateError:
                return "not rerun: it has not ended"
            return "due again"

        self._change(request, queryset, rerun, "rerun in the admin")

    @admin.action(permissions=["pause"], description="Pause the executors of selected jobs")
    def pause_executors(self, request: HttpRequest, queryset: Any) -> None:
        """Pause the executors of these jobs until they are resumed in the list of pauses."""
        store = _bound()
        jobs: list[Job] = list(queryset[: MOST_CHANGED + 1])
        for name in sorted({job.executor for job in jobs[:MOST_CHANGED]}):
            try:
                store.put_pause_sync(NewPause(name, f"paused in the admin by {request.user}", None))
            except RexecutorError as error:
                messages.error(request, f"Not paused: {name}: {error}")
            else:
                all_of = "task of this queue, not only the selected ones," if name.startswith(OF_TASKS) else "job of it"
                messages.success(request, f"Paused: {name}. No {all_of} starts until it is resumed.")
        if len(jobs) > MOST_CHANGED:
            messages.warning(request, _NOT_ALL.format(MOST_CHANGED))

    def _change(self, request: HttpRequest, queryset: Any, change: Callable[[Job], str], what: str) -> None:
        """Change the jobs one by one, and show the user how many had which outcome."""
        jobs: list[Job] = list(queryset[: MOST_CHANGED + 1])
        done: Counter[str] = Counter()
        changed: list[Job] = []
        for job in jobs[:MOST_CHANGED]:
            try:
                outcome = change(job)
            except JobNotFoundError:
                outcome = "deleted meanwhile"
            except RexecutorError as error:
                messages.error(request, f"Job {job.pk}: {error}")
                break
            done[outcome] += 1
            changed += [job] * (outcome not in _UNCHANGED)
        if changed:
            LogEntry.objects.log_actions(request.user.pk or 0, changed, CHANGE, change_message=what)
        for outcome, number in done.items():
            level = messages.WARNING if outcome in _UNCHANGED else messages.SUCCESS
            messages.add_message(request, level, f"{number:,} job{'s' * (number != 1)}: {outcome}.")
        if len(jobs) > MOST_CHANGED:
            messages.warning(request, _NOT_ALL.format(MOST_CHANGED))


_NOT_ALL: Final = "Only the first {:,} were processed. Filter the list by status or executor, and repeat the action."
_UNCHANGED: Final = {"had ended before", "not rerun: it has not ended", "deleted meanwhile"}


@admin.register(Pause)
class PauseAdmin(ReadOnlyAdmin):
    """The pauses that are not over."""

    list_display = ("executor", "since", "until", "reason")
    actions: ClassVar[Any] = ("resume_executors",)

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the pauses that are not over."""
        return super().get_queryset(request).filter(Q(until__isnull=True) | Q(until__gt=timezone.now()))

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may pause executors and resume them."""
        return _may(request, "pause")

    @admin.action(permissions=["pause"], description="Resume selected executors")
    def resume_executors(self, request: HttpRequest, queryset: Any) -> None:
        """End these pauses."""
        store = _bound()
        for pause in queryset:
            try:
                store.end_pause_sync(pause.executor)
            except RexecutorError as error:
                messages.error(request, f"Not resumed: {pause.executor}: {error}")
            else:
                messages.success(request, f"Resumed: {pause.executor}.")


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin):
    """The worker processes."""

    list_display = ("name", "started_at", "renewed_at", "lease_until", "running", "version")
    ordering = ("name", "pk")
    fields = ("id", "name", "started_at", "renewed_at", "lease_until", "shown_state", "shown_executors")

    @admin.display(description="running jobs")
    def running(self, node: Node) -> Any:
        """Return the number of jobs that it ran at its last heartbeat."""
        return _state_of(node, "running")

    @admin.display(description="rexecutor")
    def version(self, node: Node) -> Any:
        """Return the version of rexecutor that it runs."""
        return _state_of(node, "version")

    @admin.display(description="state")
    def shown_state(self, node: Node) -> SafeString | str:
        """Return the state of its last heartbeat, as HTML."""
        return shown(node.state)

    @admin.display(description="executors")
    def shown_executors(self, node: Node) -> SafeString | str:
        """Return its executors, as HTML."""
        return shown(node.executors)


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin):
    """The schedules, with their ticks."""

    list_display = ("id", "executor", "expression", "timezone", "last_tick", "next_tick")
    ordering = ("pk",)


def _bound() -> Any:
    """Return the store, bound to Django's own connection."""
    store = shown_store()
    assert store is not None  # noqa: S101 - the admin shows nothing otherwise
    return bound_store(store)


def _may(request: HttpRequest, action: str) -> bool:
    user: Any = request.user
    return user.has_perm(f"rexecutor.{action}_job")


def _state_of(node: Node, name: str) -> Any:
    state: Any = node.state
    return cast("dict[str, Any]", state).get(name) if isinstance(state, dict) else None
