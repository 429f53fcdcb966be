"""Django's `Task` and `TaskResult` for annotations: generic for type checkers, but not at run time."""

from typing import TYPE_CHECKING, Any, TypeAlias

from django.tasks import Task, TaskResult

if TYPE_CHECKING:
    AnyTask: TypeAlias = Task[..., Any]
    AnyResult: TypeAlias = TaskResult[..., Any]
else:
    AnyTask, AnyResult = Task, TaskResult
