"""Finds the `Rexecutor` that `MODULE:REXECUTOR` names."""

import importlib
import inspect
import sys
import traceback
from pathlib import Path

from rexecutor.app.rexecutor import Rexecutor
from rexecutor.cli.failure import FailedError, MisusedError
from rexecutor.errors import RexecutorError
from rexecutor.jobs.definition import takes
from rexecutor.jobs.executor import Executor


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


def made_rexecutor(target: str, found: object) -> Rexecutor:
    """Return the `Rexecutor` that was found; if a function was found, call it and return the `Rexecutor` it makes.

    Raises:
        MisusedError: It is neither a `Rexecutor` nor a function without arguments that returns one.
        FailedError: The function raised an exception. A `RexecutorError` is not wrapped.
    """
    if isinstance(found, Rexecutor):
        return found
    if _is_executor(found):
        raise MisusedError(f"{target!r} is a job; give the Rexecutor that runs it, made with `executors=[…]`")
    if inspect.iscoroutinefunction(found) or (inspect.isroutine(found) and not takes(found, 0)):
        raise MisusedError(f"{target!r} must be a function without arguments that is not async")
    if not callable(found) or isinstance(found, type) or not takes(found, 0):  # a Flask application is callable too
        raise MisusedError(f"{target!r} must be a Rexecutor or a function that returns one, not {_kind(found)}")
    try:
        made: object = found()
    except RexecutorError:
        raise
    except Exception as error:
        raise FailedError(f"{target!r} raised {_one_line(error)}") from error
    if not isinstance(made, Rexecutor):
        raise MisusedError(f"{target!r} must return a Rexecutor, not {_kind(made)}")
    return made


def _imported(name: str) -> object:
    try:
        return importlib.import_module(name)
    except RexecutorError:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise FailedError(f"the module {name} cannot be imported: {_one_line(error)}") from error
        raise MisusedError(f"no module {name!r} in the working directory or on Python's path") from error
    except Exception as error:
        raise FailedError(f"the module {name} cannot be imported: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    """Return the exception and where it was raised, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    text = f"{type(error).__name__}: {error}"
    here = str(Path.cwd())
    theirs = [frame for frame in frames if frame.filename.startswith(here)] or frames  # not a library's, if possible
    return f"{text} ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else text


def _is_executor(value: object) -> bool:
    return isinstance(value, Executor) or (isinstance(value, type) and issubclass(value, Executor))


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"
