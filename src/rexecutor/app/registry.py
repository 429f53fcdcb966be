"""Which executors a `Rexecutor` runs."""

import sys
from inspect import isabstract
from typing import Any, cast

from rexecutor.errors import DefinitionError
from rexecutor.jobs.definition import place_of
from rexecutor.jobs.executor import Executor
from rexecutor.jobs.types import codecs_of
from rexecutor.model.job import Limits

AnyExecutor = Executor[Any, Any]


class Registry:
    """Executors by name. An executor that is given with a schedule may also be given on its own."""

    def __init__(self, limits: Limits) -> None:
        self.executors: dict[str, AnyExecutor] = {}
        self._limits = limits
        self._implied: dict[str, bool] = {}  # given with a schedule: whether the instance was made here

    def add(self, executor: type[AnyExecutor] | AnyExecutor, *, is_implied: bool) -> type[AnyExecutor]:
        """Add the executor and return its class. A class is instantiated.

        Raises:
            DefinitionError: The executor cannot run, is given twice, or another one has its name.
        """
        name: object = getattr(executor, "name", None)
        known = self.executors.get(name) if isinstance(name, str) else None
        if known is not None:
            if not is_implied and known.name not in self._implied:
                raise _taken(known, executor)
            if executor is known or executor is type(known):
                return type(known)
            if type(executor) is not type(known) or not self._implied.get(known.name):
                raise _taken(known, executor)
        instance = _instance(executor)
        codecs_of(type(instance), self._limits)
        if instance.blocking == "process":
            _check_importable(instance)
            _check_sendable(instance)
        self.executors[instance.name] = instance
        if is_implied:
            self._implied[instance.name] = isinstance(executor, type)
        return type(instance)


def _taken(known: AnyExecutor, executor: type[AnyExecutor] | AnyExecutor) -> DefinitionError:
    """Return the error for an executor whose name another one has, or which is given twice."""
    kind = type(executor) if isinstance(executor, Executor) else executor
    if kind is type(known):
        return DefinitionError(f"{known.name}: {place_of(kind)} is given twice; give it once, or the same instance")
    places = f"{place_of(type(known))} and {place_of(kind)}"
    return DefinitionError(f"{known.name}: two executors have this name, {places}; give one another name")


def _check_importable(executor: AnyExecutor) -> None:
    """Raise a `DefinitionError` unless a child process, which imports the program, can find the executor's class."""
    main = sys.modules["__main__"]
    file: str | None = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is not None or (file is not None and not file.startswith("<")):
        return
    if file is not None:  # multiprocessing would take it for the name of a file
        raise DefinitionError(
            f"{executor.name}: runs in child processes, which import the program, and that comes from {file};"
            " save it as a file, and run that"
        )
    if type(executor).__module__ == "__main__":
        raise DefinitionError(
            f"{executor.name}: runs in child processes, which cannot import a class from `python -c`, a notebook or a"
            " prompt; define it in a module, and import that"
        )


def _check_sendable(executor: AnyExecutor) -> None:
    """Raise a `DefinitionError` if the executor cannot be pickled, and so not be sent to a child process."""
    from multiprocessing.reduction import ForkingPickler  # only executors that need it load it

    try:
        ForkingPickler.dumps(executor)
    except Exception as error:
        raise DefinitionError(
            f"{executor.name}: runs in child processes, and pickle cannot send it there ({error}); define the class at"
            " the top of a module, and make clients and connections within execute"
        ) from error


def _instance(executor: object) -> AnyExecutor:
    if isinstance(executor, Executor):
        return cast("AnyExecutor", executor)
    if isinstance(executor, type) and issubclass(executor, Executor):
        where = place_of(cast("type[object]", executor))
        if isabstract(cast("type[object]", executor)):
            missing = ", ".join(sorted(executor.__abstractmethods__))
            raise DefinitionError(f"{where}: has no {missing}; define it")
        try:
            return cast("AnyExecutor", executor())
        except TypeError as error:
            raise DefinitionError(f"{where}: cannot be made without arguments ({error}); give an instance") from error
    raise DefinitionError(f"with_executor({executor!r}): an Executor class or an instance of one expected")
