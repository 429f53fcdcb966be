"""The tasks of the tests' application. Django 6 or later."""

import asyncio
import threading
from collections import deque
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.tasks import TaskContext, task

from rexecutor import BackoffStrategy
from rexecutor.django import RexecutorTask
from tests.in_django.shop.models import Order

AT_ONCE: Final = BackoffStrategy.constant(timedelta(0))
RELEASED: Final = threading.Event()
"""Lets `outlast` end."""
NOTED: Final[deque[Any]] = deque()
"""What tasks have noted in this process; each test notes values of its own."""


def _with_settings(made: Any, **settings: Any) -> RexecutorTask:
    """Return the task with settings that Django's `@task` takes as keywords since 6.1, and its stubs do not know."""
    assert isinstance(made, RexecutorTask)
    return replace(made, **settings)


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@task
async def add_async(a: int, b: int = 0) -> int:
    return a + b


@task
def give(value: Any) -> Any:
    return value


@task
def note(value: Any) -> None:
    NOTED.append((value, threading.current_thread().name))


@task(takes_context=True)
def attempt_of(context: "TaskContext[..., Any]") -> list[Any]:
    return [context.attempt, context.task_result.id, str(context.task_result.status)]


@task
def give_complex() -> Any:
    return 1j


@task
def give_nan() -> float:
    return float("nan")


@task
def fail(message: str) -> None:
    raise ValueError(message)


@task
async def fail_async(message: str) -> None:
    raise ValueError(message)


@task
def leave() -> None:
    raise SystemExit(3)


@task(takes_context=True)
def fail_until(context: "TaskContext[..., Any]", attempt: int) -> int:
    if context.attempt < attempt:
        raise ConnectionError(f"attempt {context.attempt}")
    return context.attempt


fail_until = _with_settings(fail_until, max_attempts=3, backoff=AT_ONCE)


@task
async def wait_async() -> None:
    await asyncio.get_running_loop().create_future()


wait_async = _with_settings(wait_async, timeout=timedelta(seconds=0.05))


@task
async def hang_async() -> None:
    await asyncio.get_running_loop().create_future()


@task
def outlast() -> None:
    """Take longer than its timeout, which cannot stop a thread."""
    RELEASED.wait(20)


outlast = _with_settings(outlast, timeout=timedelta(seconds=0.05))


@task
def pay(reference: str, database: str) -> None:
    Order.objects.using(database).filter(reference=reference).update(paid=True)


@task
def make_order(reference: str, database: str) -> None:
    Order.objects.using(database).create(reference=reference)


@task
async def make_order_async(reference: str, database: str) -> None:
    await Order.objects.using(database).acreate(reference=reference)


@task
def enqueue_with_order(reference: str, database: str) -> None:
    """Store an order and a task that stores another, and then both again, in a block that is rolled back."""
    with transaction.atomic(using=database):
        Order.objects.using(database).create(reference=reference)
        make_order.enqueue(f"{reference} again", database)
    with suppress(KeyError), transaction.atomic(using=database):
        Order.objects.using(database).create(reference=f"{reference} never")
        make_order.enqueue(f"{reference} never again", database)
        raise KeyError


@task
def takes_anything(context: Any = None) -> None:
    pass


@task
def server_process(database: str) -> int:
    """Return the id of the process of PostgreSQL that this thread's connection has."""
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


@task
def leave_open(database: str) -> None:
    transaction.atomic(using=database).__enter__()


@task
async def server_process_async(database: str) -> int:
    return await sync_to_async(server_process.func)(database)


@task
def write_and_hang(folder: str) -> None:
    """Tell the reader of the folder's FIFO that this has begun, and hang; a second attempt ends at once."""
    try:
        Path(folder, "begun").touch(exist_ok=False)
    except FileExistsError:
        return
    Path(folder, "fifo").write_text("begun")
    threading.Event().wait()


write_and_hang_again = _with_settings(write_and_hang, max_attempts=5)
