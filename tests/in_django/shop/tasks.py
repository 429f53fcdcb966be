"""The tasks of the tests' application. Django 6 or later."""

import asyncio
import threading
from collections import deque
from typing import Any

from django.db import connections
from django.tasks import TaskContext, task

from tests.in_django.shop.models import Order

LOG: deque[Any] = deque()
"""What tasks have noted in this process; each test notes under a name of its own."""


@task
def add(a: int, b: int) -> int:
    return a + b


@task
async def add_async(a: int, b: int) -> int:
    await asyncio.sleep(0)  # noqa: TID251 - as a task awaits
    return a + b


@task
def note(value: Any) -> None:
    LOG.append((value, threading.current_thread().name))


@task(takes_context=True)
def attempt(context: "TaskContext[..., Any]") -> int:
    return context.attempt


@task
def fail(message: str) -> None:
    raise ValueError(message)


@task
def pay(reference: str, database: str) -> None:
    Order.objects.using(database).filter(reference=reference).update(paid=True)


@task
def backend_pid(database: str) -> int:
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]
