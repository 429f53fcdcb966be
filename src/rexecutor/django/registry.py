"""Which task a stored path stands for. Only tasks that are defined are found: data never name an import."""

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
"""Tasks by path, the first that was made of each function."""
_discovering: Final = RLock()


def register(task: AnyTask) -> None:
    """Remember the task. Copies of it with other settings, which `using` makes, do not replace it."""
    known = _tasks.get(task.module_path)
    if known is None or known.func is not task.func:  # its module was loaded anew
        _tasks[task.module_path] = task


def find(path: str) -> AnyTask | None:
    """Return the task of this path; None if no module that was imported here defines it.

    That is the task which stands in its module under that name. If there is none, as in `send = task(_send)`, it is
    the one that was made of the function of this path.
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
    """Return the task of this path, also if its module is one that a worker imports and this process has not yet."""
    found = find(path)
    if found is not None:
        return found
    discover()
    return find(path)


def discover() -> None:
    """Import what defines tasks: the module `tasks` of each application, and those in `OPTIONS["MODULES"]`.

    Raises:
        ImproperlyConfigured: `MODULES` is not a list.
        Exception: What the import of one of these modules raises.
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
