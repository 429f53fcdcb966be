"""Finds the task of a stored path. Only tasks that modules define are found: stored data never name an import."""

import sys
from collections.abc import Sequence
from importlib import import_module
from threading import RLock
from typing import Final, cast

from django.core.exceptions import ImproperlyConfigured
from django.tasks import Task
from django.utils.module_loading import autodiscover_modules

from rexecutor.django.annotations import AnyTask
from rexecutor.django.stores import task_backends

_tasks: Final[dict[str, AnyTask]] = {}
"""Tasks by path: the first one made for each function."""
_discovering: Final = RLock()


def register(task: AnyTask) -> None:
    """Remember the task. Copies of it with other settings, which `using` makes, do not replace it."""
    known = _tasks.get(task.module_path)
    if known is None or known.func is not task.func:  # its module was reloaded
        _tasks[task.module_path] = task


def find(path: str) -> AnyTask | None:
    """Return the task of this path; None if no imported module defines it.

    It is the task that the module has under this name. If the module has none, as with `send = task(_send)`, it is the
    first task made for the function.
    """
    module_name, _, name = path.rpartition(".")
    module = sys.modules.get(module_name)
    found: object = None if module is None else vars(module).get(name)
    if isinstance(found, Task):
        task = cast("AnyTask", found)
        if task.module_path == path:
            return task
    return _tasks.get(path)


def find_or_discover(path: str) -> AnyTask | None:
    """Return the task of this path. If it is not known, first import the modules that a worker imports."""
    found = find(path)
    if found is not None:
        return found
    discover()
    return find(path)


def discover() -> None:
    """Import the modules that define tasks: `tasks` of each application, and those in `OPTIONS["MODULES"]`.

    Raises:
        ImproperlyConfigured: `MODULES` is not a list.
        Exception: The import of a module fails; its own exception is raised.
    """
    with _discovering:
        autodiscover_modules("tasks")
        for alias, params in task_backends().items():
            names: object = params.get("OPTIONS", {}).get("MODULES", ())
            if not isinstance(names, list | tuple):
                raise ImproperlyConfigured(
                    f'TASKS[{alias!r}]: MODULES must be a list of modules, such as ["shop.jobs"], not {names!r}'
                )
            for name in cast("Sequence[str]", names):
                import_module(name)
