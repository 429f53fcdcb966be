"""What all adapters share: the job's body, the record of runs, and the commands of the driver.

It runs in the environment of every system, so it uses the standard library only. The driver writes a command as one
line of JSON to the standard input; each gets one line of JSON as its answer.
"""

import asyncio
import json
import mmap
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from importlib import metadata
from pathlib import Path
from time import monotonic_ns, perf_counter
from typing import Any, TypeAlias

URL = os.environ.get("BENCH_URL", "")
"""The store of this cell: a URL, or the path of an SQLite file."""
FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))
JOBS = int(os.environ.get("BENCH_JOBS", "1000"))
"""One more than the largest order of this cell."""
SLOTS = int(os.environ.get("BENCH_SLOTS", "100"))
PAUSE = float(os.environ.get("BENCH_PAUSE", "0"))
"""How long each job takes, in seconds."""
FAIL_EVERY = int(os.environ.get("BENCH_FAIL_EVERY", "0"))
"""Each job whose order is a multiple of this fails on its first attempt; 0 for none."""
OPTIONS: dict[str, Any] = json.loads(os.environ.get("BENCH_OPTIONS", "{}"))
"""What only some workloads ask of some systems."""
TO = "bob@example.com" + "x" * int(os.environ.get("BENCH_PADDING", "0"))
HEAD = 2
"""Cells before the first job's: how many runs there were, and how many of them were not the first of their job."""
_DEADLINE = 120.0
Answer: TypeAlias = Mapping[str, object]


class BenchmarkError(Exception):
    """What a job raises that is to fail."""


class Record:
    """A file with one 64-bit number for each job: when this process had it, by the monotonic clock of the machine."""

    def __init__(self, kind: str) -> None:
        path = FOLDER / f"{kind}-{os.getpid()}"
        with path.open("w+b") as file:
            file.truncate(8 * (HEAD + JOBS))
            self._map = mmap.mmap(file.fileno(), 0)
        self._cells = memoryview(self._map).cast("q")
        self._lock = threading.Lock()

    def mark(self, order: int) -> bool:
        """Record the moment. Return whether this is the first of the job."""
        cells, place = self._cells, order + HEAD
        with self._lock:
            is_first = not cells[place]
            if not is_first:
                cells[1] += 1
            cells[place] = monotonic_ns()
            cells[0] += 1
        return is_first


_records: dict[str, Record] = {}
_making = threading.Lock()


def _forget() -> None:
    global _making  # noqa: PLW0603 - a thread of the parent may hold the old one
    _making = threading.Lock()
    _records.clear()  # a fork has files of its own


os.register_at_fork(after_in_child=_forget)


def _record(kind: str) -> Record:
    try:
        return _records[kind]
    except KeyError:
        with _making:  # many threads may have their first job at once, and a second record would empty the first's file
            if kind not in _records:
                _records[kind] = Record(kind)
            return _records[kind]


def ran(order: int) -> None:
    """Record that a job runs, and fail if it is to fail."""
    is_first = _record("runs").mark(order)
    if FAIL_EVERY and is_first and not order % FAIL_EVERY:
        raise BenchmarkError(f"job {order} is to fail once")


def called(order: int) -> None:
    """Record that a job is about to be enqueued."""
    _record("calls").mark(order)


async def body(order: int) -> None:
    """Run a job."""
    ran(order)
    if PAUSE:
        await asyncio.sleep(PAUSE)


def blocking_body(order: int) -> None:
    """Run a job of a system whose jobs are plain functions."""
    ran(order)
    if PAUSE:
        time.sleep(PAUSE)


class Adapter:
    """A system with an asyncio API. One object serves one process, be it a producer or a worker."""

    async def open(self) -> None:
        """Connect."""

    async def close(self) -> None:
        """Disconnect."""

    async def prepare(self) -> None:
        """Create the tables. Called once for each fresh store, before `open`."""

    async def enqueue(self, order: int) -> object:
        """Enqueue one job; return when it is stored."""
        raise NotImplementedError

    async def enqueue_many(self, orders: range) -> object:
        """Enqueue jobs in the fastest way that the documentation names."""
        raise NotImplementedError

    async def enqueue_unique(self, order: int) -> object:
        """Enqueue one job unless one with the same order waits already."""
        raise NotImplementedError

    async def left(self) -> int:
        """Return how many jobs wait or run."""
        raise NotImplementedError

    async def work(self) -> object:
        """Run jobs until cancelled, or until the process ends."""
        raise NotImplementedError

    async def special(self, what: str) -> object:
        """Do what only one system can do."""
        raise NotImplementedError(what)


class BlockingAdapter:
    """A system with a blocking API. `work` holds the process until it ends."""

    def open(self) -> None:
        """Connect."""

    def close(self) -> None:
        """Disconnect."""

    def prepare(self) -> None:
        """Create the tables. Called once for each fresh store, before `open`."""

    def enqueue(self, order: int) -> object:
        """Enqueue one job; return when it is stored. Called by many threads."""
        raise NotImplementedError

    def enqueue_many(self, orders: range) -> object:
        """Enqueue jobs in the fastest way that the documentation names."""
        raise NotImplementedError

    def enqueue_unique(self, order: int) -> object:
        """Enqueue one job unless one with the same order waits already."""
        raise NotImplementedError

    def left(self) -> int:
        """Return how many jobs wait or run."""
        raise NotImplementedError

    def work(self) -> object:
        """Run jobs until the process ends."""
        raise NotImplementedError


def main(adapter: Adapter | BlockingAdapter) -> None:
    """Carry out the driver's commands until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w")  # systems may print to the standard output what they like
    os.dup2(2, 1)

    def say(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    if isinstance(adapter, Adapter):
        _run(_serve(adapter, say))
    else:
        _serve_blocking(adapter, say)


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)


def _about() -> Answer:
    packages = sorted((one.metadata["Name"].lower(), one.version) for one in metadata.distributions())
    return {"python": sys.version.split()[0], "packages": dict(packages)}


async def _serve(adapter: Adapter, say: Callable[[Answer], None]) -> None:
    reader = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    working: asyncio.Future[object] | None = None
    while line := await reader.readline():
        command = json.loads(line)
        if command["do"] == "work":
            working = asyncio.ensure_future(adapter.work())
            working.add_done_callback(_die_of_an_error)
            say({})
            continue
        say(await _do(adapter, command))
    if working is not None:
        working.cancel()
        await asyncio.wait([working], timeout=10)
    await adapter.close()


def _die_of_an_error(task: asyncio.Future[object]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        sys.stderr.write(f"the worker ended: {error!r}\n")
        sys.stderr.flush()
        os._exit(1)


async def _do(adapter: Adapter, command: dict[str, Any]) -> Answer:  # noqa: C901 - one case a command
    match command["do"]:
        case "prepare":
            await adapter.prepare()
        case "open":
            await adapter.open()
        case "about":
            return {**_about(), "loop": type(asyncio.get_running_loop()).__module__}
        case "enqueue":
            return {"seconds": await _enqueue(adapter, command)}
        case "special":
            began = perf_counter()
            return {"answer": await adapter.special(command["what"]), "seconds": perf_counter() - began}
        case "pickup":
            for order, gap in _gaps(command):
                called(order)
                await adapter.enqueue(order)
                await asyncio.sleep(gap)
        case "load":
            await _load(adapter, command)
        case "settled":
            return {"moment": await _settled(adapter.left)}
        case "left":
            return {"left": await adapter.left()}
        case other:
            raise ValueError(other)
    return {}


async def _enqueue(adapter: Adapter, command: dict[str, Any]) -> float:
    orders = range(command["first"], command["first"] + command["jobs"])
    one = adapter.enqueue_unique if command["how"] == "unique" else adapter.enqueue
    began = perf_counter()
    match command["how"]:
        case "bulk":
            for first in range(orders.start, orders.stop, command["batch"]):
                await adapter.enqueue_many(range(first, min(first + command["batch"], orders.stop)))
        case _:
            rest = iter(orders)

            async def produce() -> None:
                for order in rest:
                    await one(order)

            if command["producers"] == 1:
                await produce()
            else:
                await asyncio.gather(*(produce() for _ in range(command["producers"])))
    return perf_counter() - began


def _gaps(command: dict[str, Any]) -> list[tuple[int, float]]:
    """Return each order and how long to wait after it: around the gap, so that no poll of a worker keeps in step."""
    rng = random.Random(command["first"])  # noqa: S311 - no secret
    orders = range(command["first"], command["first"] + command["jobs"])
    return [(order, command["gap"] * rng.uniform(0.5, 1.5)) for order in orders]


async def _load(adapter: Adapter, command: dict[str, Any]) -> None:
    """Enqueue at a rate, whether or not earlier calls have returned; 200 may be under way."""
    began, first = perf_counter(), command["first"]
    free = asyncio.Semaphore(200)

    async def one(order: int) -> None:
        try:
            called(order)
            await adapter.enqueue(order)
        finally:
            free.release()

    async with asyncio.TaskGroup() as tasks:
        for number in range(command["jobs"]):
            wait = began + number / command["rate"] - perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            await free.acquire()
            tasks.create_task(one(first + number))


async def _settled(left: Callable[[], Awaitable[int]]) -> int:
    """Return the moment when nothing was left."""
    deadline = perf_counter() + _DEADLINE
    while some := await left():
        if perf_counter() > deadline:
            raise TimeoutError(f"{some} jobs are left")
        await asyncio.sleep(0.002)
    return monotonic_ns()


def _serve_blocking(adapter: BlockingAdapter, say: Callable[[Answer], None]) -> None:
    while line := sys.stdin.readline():
        command = json.loads(line)
        if command["do"] == "work":
            say({})
            threading.Thread(target=_end_with_the_driver, daemon=True).start()
            adapter.work()
            return
        say(_do_blocking(adapter, command))
    adapter.close()


def _end_with_the_driver() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _do_blocking(adapter: BlockingAdapter, command: dict[str, Any]) -> Answer:  # noqa: C901 - as above
    match command["do"]:
        case "prepare":
            adapter.prepare()
        case "open":
            adapter.open()
        case "about":
            return _about()
        case "enqueue":
            return {"seconds": _enqueue_blocking(adapter, command)}
        case "pickup":
            for order, gap in _gaps(command):
                called(order)
                adapter.enqueue(order)
                time.sleep(gap)
        case "load":
            _load_blocking(adapter, command)
        case "settled":
            deadline = perf_counter() + _DEADLINE
            while some := adapter.left():
                if perf_counter() > deadline:
                    raise TimeoutError(f"{some} jobs are left")
                time.sleep(0.002)
            return {"moment": monotonic_ns()}
        case "left":
            return {"left": adapter.left()}
        case other:
            raise ValueError(other)
    return {}


def _enqueue_blocking(adapter: BlockingAdapter, command: dict[str, Any]) -> float:
    orders = range(command["first"], command["first"] + command["jobs"])
    one = adapter.enqueue_unique if command["how"] == "unique" else adapter.enqueue
    began = perf_counter()
    if command["how"] == "bulk":
        for first in range(orders.start, orders.stop, command["batch"]):
            adapter.enqueue_many(range(first, min(first + command["batch"], orders.stop)))
    elif command["producers"] == 1:
        for order in orders:
            one(order)
    else:
        _in_threads(
            [lambda rest=orders[part :: command["producers"]]: _each(one, rest) for part in range(command["producers"])]
        )
    return perf_counter() - began


def _each(one: Callable[[int], object], orders: range) -> None:
    for order in orders:
        one(order)


def _load_blocking(adapter: BlockingAdapter, command: dict[str, Any], threads: int = 8) -> None:
    began, first = perf_counter(), command["first"]

    def produce(part: int) -> None:
        for number in range(part, command["jobs"], threads):
            wait = began + number / command["rate"] - perf_counter()
            if wait > 0:
                time.sleep(wait)
            called(first + number)
            adapter.enqueue(first + number)

    _in_threads([lambda part=part: produce(part) for part in range(threads)])


def _in_threads(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
