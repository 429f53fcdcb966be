"""Finds the `Rexecutor` that `MODULE:REXECUTOR` names, and opens what makes it."""

import asyncio
import importlib
import inspect
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeAlias, TypeGuard

from rexecutor.app.rexecutor import Rexecutor
from rexecutor.app.signals import Signals
from rexecutor.cli.failure import FailedError, MisusedError, described
from rexecutor.errors import RexecutorError
from rexecutor.jobs.definition import takes
from rexecutor.jobs.executor import Executor
from rexecutor.telemetry.events import ProviderNotClosed
from rexecutor.telemetry.log import log_event

AnyManager: TypeAlias = AbstractAsyncContextManager[object, Any] | AbstractContextManager[object, Any]
"""A context manager, asynchronous or not."""


class StoppedError(FailedError):
    """A SIGTERM or SIGINT came before the `Rexecutor` was made: it was not started."""


CLOSE_TIMEOUT: Final = 10.0
"""Seconds that a context manager may take to close what it has opened."""


def find_target(target: str) -> object:
    """Import the module, with the working directory on `sys.path`, and return its attribute of that name.

    Raises:
        MisusedError: The target is not of the form MODULE:NAME, or there is no such module or name.
        FailedError: The module exists, but its import failed. A `RexecutorError` is not wrapped.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise MisusedError(f"{target!r} must be MODULE:REXECUTOR, such as myapp.jobs:rexecutor")
    if module_name.endswith(".py") or module_name.startswith(".") or "/" in module_name:
        raise MisusedError(f"{target!r}: give the module by its name, not its file, such as myapp.jobs:rexecutor")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found: object = _imported(module_name)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise MisusedError(f"{target!r}: the module {module_name} has no {path!r}") from None
    return found


@asynccontextmanager
async def opened_rexecutor(target: str, found: object) -> AsyncGenerator[Rexecutor]:
    """Give the `Rexecutor` that was found, or that a function or context manager makes; not started by this.

    A context manager is entered, and left when the block has ended, in the running event loop and in the caller's task.
    An error while it is left is logged. A SIGTERM or SIGINT while the `Rexecutor` is made cancels what makes it.

    Raises:
        MisusedError: It is neither a `Rexecutor` nor makes one without arguments.
        FailedError: The function or context manager raised an exception. A `RexecutorError` is not wrapped.
        StoppedError: A signal has come.
    """
    async with AsyncExitStack() as stack:
        with Signals() as signals:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - this is a coroutine
            is_making = True
            signals.on_first(lambda: is_making and task.cancel())
            try:
                rexecutor = await made_rexecutor(target, found, stack)
            except asyncio.CancelledError:
                if not signals.has_come:
                    raise
                task.uncancel()
                raise StoppedError("interrupted before the start") from None
            finally:
                is_making = False  # what is closed from here on is not cancelled
        if signals.has_come:  # while code did not await, or it has swallowed the cancellation
            raise StoppedError("interrupted before the start")
        yield rexecutor


async def made_rexecutor(target: str, found: object, stack: AsyncExitStack) -> Rexecutor:
    """Return the `Rexecutor` that was found, or that a function or context manager makes, which the stack leaves.

    Raises:
        MisusedError: It is neither a `Rexecutor` nor makes one without arguments.
        FailedError: The function or context manager raised an exception. A `RexecutorError` is not wrapped.
    """
    if isinstance(found, Rexecutor):
        return found
    check_makes_rexecutor(target, found)
    assert callable(found)  # noqa: S101 - has been checked
    try:
        made: object = found()
        if inspect.isawaitable(made):
            made = await made
        if not isinstance(made, Rexecutor) and _is_manager(made):
            made = await _entered(target, made, stack)
    except RexecutorError:
        raise
    except SystemExit as error:
        raise FailedError(f"{target!r} ended the program ({described(error)})") from error
    except Exception as error:
        raise FailedError(f"{target!r} raised {described(error)}") from error
    if inspect.isasyncgen(made) or inspect.isgenerator(made):
        decorator = "asynccontextmanager" if inspect.isasyncgen(made) else "contextmanager"
        raise MisusedError(f"{target!r} yields, so it needs the decorator @contextlib.{decorator}")
    if not isinstance(made, Rexecutor):
        raise MisusedError(f"{target!r} must return or yield a Rexecutor, not {_kind(made)}")
    return made


def _is_manager(value: object) -> TypeGuard[AnyManager]:
    return isinstance(value, AbstractAsyncContextManager | AbstractContextManager)


async def _entered(target: str, manager: AnyManager, stack: AsyncExitStack) -> object:
    """Enter the context manager and return what it gives. It is left with the stack, and an error then is logged."""
    entered = AsyncExitStack()
    if isinstance(manager, AbstractAsyncContextManager):
        given: object = await entered.enter_async_context(manager)
    else:
        given = entered.enter_context(manager)

    async def leave(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):  # noqa: TID251 - in this task, as the application's code expects
                return bool(await entered.__aexit__(kind, error, trace))
        except Exception as failure:  # noqa: BLE001 - the jobs have ended well: the process need only end
            if failure is not error:  # which it may pass on
                log_event(ProviderNotClosed(target, failure))
            return False

    stack.push_async_exit(leave)
    return given


def check_makes_rexecutor(target: str, found: object) -> None:
    """Raise a `MisusedError` if what was found can make no `Rexecutor`: it is not callable without arguments."""
    if _is_executor(found):
        raise MisusedError(f"{target!r} is a job; give the Rexecutor that runs it, made with `executors=[…]`")
    if inspect.isroutine(found) and not takes(found, 0):
        raise MisusedError(f"{target!r} must be a function without arguments")
    if not callable(found) or isinstance(found, type) or not takes(found, 0):  # a Flask application is callable too
        raise MisusedError(f"{target!r} must be a Rexecutor or a function that returns one, not {_kind(found)}")


def _imported(name: str) -> object:
    try:
        return importlib.import_module(name)
    except RexecutorError:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise FailedError(f"the module {name} cannot be imported: {described(error)}") from error
        raise MisusedError(f"no module {name!r} in the working directory or on Python's path") from error
    except SystemExit as error:  # its status may be 0, and then a check of the application would have passed
        raise FailedError(
            f"the module {name} ended the program when it was imported ({described(error)}); put what is no definition"
            ' under `if __name__ == "__main__":`'
        ) from error
    except Exception as error:
        raise FailedError(f"the module {name} cannot be imported: {described(error)}") from error


def _is_executor(value: object) -> bool:
    return isinstance(value, Executor) or (isinstance(value, type) and issubclass(value, Executor))


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"
