"""Makes instances of frozen dataclasses quickly, where there is one for each job."""

from collections.abc import Callable
from dataclasses import fields, make_dataclass
from typing import Any, TypeVar, cast

T = TypeVar("T")


def quick_maker(kind: type[T]) -> Callable[..., T]:
    """Return a function that makes an instance of a frozen dataclass with slots from the values of all its fields.

    A frozen dataclass takes five times as long to make as a plain one. So the function makes an instance of a plain
    class with the same slots, and then sets its `__class__`. It is written out as text, as the methods of a dataclass
    are: calling the class would take twice as long. `__post_init__` is not called.
    """
    names = [one.name for one in fields(cast("Any", kind))]
    bases = getattr(kind, "__orig_bases__", ())
    thawed: Any = make_dataclass("_Thawed", [(name, Any) for name in names], bases=bases, slots=True, init=False)
    lines = [
        f"def make({', '.join(names)}):",
        " __made = __new(__thawed)",
        *(f" __made.{name} = {name}" for name in names),
        " __made.__class__ = __kind",
        " return __made",
    ]
    scope: dict[str, Any] = {"__new": object.__new__, "__thawed": thawed, "__kind": kind}
    exec("\n".join(lines), scope)  # noqa: S102 - of the names of a dataclass's fields, which are identifiers
    return cast("Callable[..., T]", scope["make"])
