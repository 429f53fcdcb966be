"""Django: a backend for `django.tasks`, migrations, an admin and commands. Install `rexecutor[django]`.

Add `"rexecutor.django"` to `INSTALLED_APPS`. With Django 6 or later, `TASKS` may name `"rexecutor.django.TaskBackend"`.
"""

from typing import TYPE_CHECKING, Any

from rexecutor.django.connections import closes_connections
from rexecutor.django.stores import backend_for

if TYPE_CHECKING:
    from rexecutor.django.task import RexecutorTask
    from rexecutor.django.task_backend import TaskBackend

__all__ = ["RexecutorTask", "TaskBackend", "backend_for", "closes_connections"]


def __getattr__(name: str) -> Any:
    """Import what needs `django.tasks` when it is first used: Django 5.2 has no such module."""
    if name not in ("RexecutorTask", "TaskBackend"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from rexecutor.django import task, task_backend
    except ModuleNotFoundError as error:
        if error.name != "django.tasks":
            raise
        raise ImportError(f"rexecutor.django.{name} needs Django 6.0 or later, which has django.tasks") from error
    return task.RexecutorTask if name == "RexecutorTask" else task_backend.TaskBackend
