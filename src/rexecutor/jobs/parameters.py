"""Tells whether a function can be called with N arguments, without evaluating its annotations.

Python 3.14 evaluates annotations when `inspect.signature` asks for them. That may fail: they may use names that are
imported only under `TYPE_CHECKING`.
"""

import functools
import inspect
import sys
from types import FunctionType, MethodType
from typing import Any, Final, cast

_OPTIONS: Final[dict[str, Any]] = {}
if sys.version_info >= (3, 14):
    from annotationlib import Format

    _OPTIONS["annotation_format"] = Format.STRING


def takes(function: object, count: int) -> bool:
    """Return whether the function can be called with exactly `count` positional arguments.

    For a decorated function, the decorator's wrapper counts and not the function it wraps.
    """
    try:
        signature = inspect.signature(cast("Any", _without_annotations(function)), follow_wrapped=False, **_OPTIONS)
        signature.bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def _without_annotations(function: object) -> object:
    if isinstance(function, FunctionType):
        bare = FunctionType(function.__code__, {}, argdefs=function.__defaults__, closure=function.__closure__)
        bare.__kwdefaults__ = function.__kwdefaults__
        return bare
    if isinstance(function, MethodType):
        return MethodType(cast("Any", _without_annotations(function.__func__)), function.__self__)
    if isinstance(function, functools.partial):
        part = cast("functools.partial[Any]", function)
        return functools.partial(cast("Any", _without_annotations(part.func)), *part.args, **part.keywords)
    if callable(function) and not isinstance(function, type):
        call: object = type(function).__call__
        if isinstance(call, FunctionType):
            return MethodType(cast("Any", _without_annotations(call)), function)
    return function
