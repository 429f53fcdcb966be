"""A task in a module that is not called `tasks`."""

from django.tasks import task


@task
def multiply(a: int, b: int) -> int:
    return a * b
