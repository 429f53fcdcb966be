"""What `rexecutor.django` gives, with and without `django.tasks`."""

import django
import pytest

import rexecutor.django

HAS_TASKS = django.VERSION >= (6,)


@pytest.mark.parametrize("name", ["TaskBackend", "RexecutorTask"])
def test_what_needs_tasks_says_which_django_has_them(name: str) -> None:
    if HAS_TASKS:
        found: object = getattr(rexecutor.django, name)
        assert isinstance(found, type)
        assert found.__doc__
    else:
        with pytest.raises(ImportError, match=rf"rexecutor\.django\.{name} needs Django 6\.0 or later"):
            getattr(rexecutor.django, name)


def test_all_else_is_there_with_each_django() -> None:
    others = {name for name in rexecutor.django.__all__ if name not in ("TaskBackend", "RexecutorTask")}

    assert others == {"backend_for", "closes_connections"}
    assert all(getattr(rexecutor.django, name).__doc__ for name in others)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = getattr(rexecutor.django, "Nonsense")  # noqa: B009
