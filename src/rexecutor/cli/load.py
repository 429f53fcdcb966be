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


def find_target(target: str) -> object:
    """Import the module, with the working directory on `sys.path`, and return its attribute of that name.

    Raises:
        MisusedError: The target is not of the form MODULE:NAME, or there is no such module or name.
        FailedError: The module exists, but its import failed. A `RexecutorError` is not wrapped.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise MisusedError(f"{target!r}: write MODULE:REXECUTOR, such as myapp.jobs:rexecutor")
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
    if inspect.iscoroutinefunction(found) or (inspect.isroutine(found) and not takes(found, 0)):
        raise MisusedError(f"{target!r}: a plain function without arguments expected")
    if not callable(found) or isinstance(found, type) or not takes(found, 0):  # a Flask application is callable too
        raise MisusedError(f"{target!r} is {_kind(found)}, a Rexecutor expected or a function that returns one")
    try:
        answer: object = found()
    except RexecutorError:
        raise
    except Exception as error:
        raise FailedError(f"{target!r} was called and failed: {_told(error)}") from error
    if not isinstance(answer, Rexecutor):
        raise MisusedError(f"{target!r} answered {_kind(answer)}, a Rexecutor expected")
    return answer


def _imported(name: str) -> object:
    try:
        return importlib.import_module(name)
    except RexecutorError:
        raise
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise FailedError(f"the module {name} cannot be imported: {_told(error)}") from error
        raise MisusedError(f"there is no module {name!r} here or on Python's path") from error
    except Exception as error:
        raise FailedError(f"the module {name} cannot be imported: {_told(error)}") from error


def _told(error: Exception) -> str:
    """Return what happened and where, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}, line {error.lineno})"
    told = f"{type(error).__name__}: {error}"
    here = str(Path.cwd())
    theirs = [frame for frame in frames if frame.filename.startswith(here)] or frames  # not a library's, if possible
    return f"{told} ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else told


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"of the type {type(value).__name__}"
