"""What a `Rexecutor` takes, and what it refuses."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from multiprocessing import current_process
from typing import Any

import pytest

from rexecutor import ConfigurationError, DefinitionError, Executor, InMemoryBackend, Job, JobStatus, Rexecutor
from rexecutor.engine.child import CHILD_NAME
from rexecutor.model.where import Everything
from rexecutor.testing import FakeClock
from tests.engine.gated import Gated
from tests.support import until


def test_executors_of_one_name_are_refused_with_the_classes_and_their_modules() -> None:
    class Other(Executor[int]):
        name = "gated"

        async def execute(self, job: Job[int]) -> None: ...

    with pytest.raises(DefinitionError) as caught:
        Rexecutor(InMemoryBackend()).with_executor(Gated()).with_executor(Other)
    assert str(caught.value) == (
        f"gated: two executors have this name, tests.engine.gated.Gated and {__name__}.{Other.__qualname__};"
        " give one of them another name"
    )


def test_an_executor_that_needs_arguments_must_be_an_instance() -> None:
    class Needy(Executor[int]):
        name = "needy"

        def __init__(self, gateway: object) -> None: ...

        async def execute(self, job: Job[int]) -> None: ...

    with pytest.raises(DefinitionError, match="give an instance"):
        Rexecutor(InMemoryBackend()).with_executor(Needy)


@pytest.mark.parametrize("wrong", [int, "Gated", None, object()])
def test_what_is_no_executor_is_refused(wrong: Any) -> None:
    with pytest.raises(DefinitionError, match="an Executor class or an instance"):
        Rexecutor(InMemoryBackend()).with_executor(wrong)


def test_a_schedule_whose_arguments_are_swapped_names_the_call() -> None:
    swapped: Any = Rexecutor(InMemoryBackend()).with_cron_executor

    with pytest.raises(DefinitionError, match=r"^with_cron_executor: executor must be .*, not '\* \* \* \* \*'$"):
        swapped("* * * * *", Gated())


@pytest.mark.parametrize(
    "settings", [{"max_concurrency": 0}, {"max_concurrency": True}, {"lease": timedelta(seconds=0.5)}, {"lease": 30}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"must be|expected|is no timedelta"):
        Rexecutor(InMemoryBackend(), **settings)


def test_what_is_no_backend_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"backend must be a Backend, .* not 'jobs\.db'"):
        Rexecutor("jobs.db")  # pyright: ignore[reportArgumentType] - that is the test


class Charge(Executor[int]):
    name = "charge"

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway

    async def execute(self, job: Job[int]) -> None: ...


@pytest.mark.parametrize("kind", [list, tuple, set, iter])
def test_executors_may_be_given_at_once(kind: Callable[[list[Any]], Iterable[Any]]) -> None:
    charge = Charge("bank")

    rexecutor = Rexecutor(InMemoryBackend(), executors=kind([Gated, charge]))

    assert {name: type(one) for name, one in rexecutor.executors.items()} == {"gated": Gated, "charge": Charge}
    assert rexecutor.executors["charge"] is charge


def test_executors_that_are_given_at_once_may_be_followed_by_others() -> None:
    rexecutor = Rexecutor(InMemoryBackend(), executors=[Gated]).with_executor(Charge("bank"))

    assert set(rexecutor.executors) == {"gated", "charge"}


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [(Gated, "; put it in a list"), (Gated(), "; put it in a list"), ("gated", ""), (None, ""), (7, "")],
)
def test_a_single_executor_or_what_holds_none_is_refused(wrong: Any, advice: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Rexecutor(InMemoryBackend(), executors=wrong)

    expected = "an iterable of Executor classes and instances"
    assert str(caught.value) == f"Rexecutor: executors must be {expected}, not {wrong!r}{advice}"


@pytest.mark.parametrize("wrong", [int, "gated", None, object()])
def test_what_is_no_executor_among_several_is_refused(wrong: Any) -> None:
    with pytest.raises(DefinitionError, match="Rexecutor: each of executors must be an Executor class or an instance"):
        Rexecutor(InMemoryBackend(), executors=[Gated, wrong])


@pytest.mark.parametrize("twice", [[Gated, Gated], [Gated(), Gated], [Gated(), Gated()]])
def test_one_that_is_given_twice_is_refused(twice: list[Any]) -> None:
    with pytest.raises(DefinitionError, match=r"gated: tests\.engine\.gated\.Gated is given twice; give it once"):
        Rexecutor(InMemoryBackend(), executors=twice)
    with pytest.raises(DefinitionError, match="is given twice"):
        Rexecutor(InMemoryBackend(), executors=twice[:1]).with_executor(twice[1])


def test_an_executor_without_an_execute_is_refused() -> None:
    class Unfinished(Executor[int]):
        name = "unfinished"

    with pytest.raises(DefinitionError, match="Unfinished: execute is missing; define it"):
        Rexecutor(InMemoryBackend()).with_executor(Unfinished)


PROGRAM = """
from rexecutor import Executor, InMemoryBackend, Job, Rexecutor
from tests.engine.in_children import AddOne

class Thumb(Executor[str]):
    name = "thumb"
    blocking = "process"

    def execute(self, job: Job[str]) -> None: ...

Rexecutor(InMemoryBackend()).with_executor({executor})
"""


@pytest.mark.parametrize(
    ("arguments", "executor", "said"),
    [
        (["-"], "Thumb", "thumb: .* read from <stdin>; save it as a file"),
        (["-"], "AddOne", "add_one: .* read from <stdin>; save it as a file"),
        (["-c"], "Thumb", "thumb: .* a notebook or a prompt; define it in a module"),
        (["-c"], "AddOne", None),
    ],
)
def test_a_program_that_no_child_process_can_import_is_told_what_to_do(
    arguments: list[str], executor: str, said: str | None
) -> None:
    program = PROGRAM.format(executor=executor)
    command = [sys.executable, *arguments, *([program] if arguments == ["-c"] else [])]

    ended = subprocess.run(command, input=program, text=True, capture_output=True, check=False, timeout=60)

    last = (ended.stderr.splitlines() or [""])[-1]
    assert re.search(said, last) if said else ended.returncode == 0, ended


async def test_a_program_that_a_child_process_imports_is_told_to_keep_its_main_part_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(current_process(), "_name", CHILD_NAME)

    with pytest.raises(ConfigurationError, match='main part below `if __name__ == "__main__":`'):
        await Rexecutor(InMemoryBackend()).start()


class Second(Executor[int]):
    name = "second"

    async def execute(self, job: Job[int]) -> None: ...


async def test_only_the_jobs_of_chosen_executors_are_run() -> None:
    backend = InMemoryBackend()
    rexecutor = Rexecutor(backend, executors=[Gated(), Second]).with_only_executors("second")

    async with rexecutor:
        other = await Gated.enqueue("a", backend=backend)
        handle = await Second.enqueue(1, backend=backend)
        assert (await handle.wait(timedelta(seconds=20))).status is JobStatus.COMPLETE

        assert (await other.fetch()).status is JobStatus.SCHEDULED
    assert list(rexecutor.executors) == ["second"]


async def test_schedules_of_executors_that_are_not_chosen_go_on(clock: FakeClock) -> None:
    backend = InMemoryBackend(clock=clock)
    rexecutor = Rexecutor(backend, executors=[Second]).with_cron_executor(Gated(), "* * * * *", "a")

    async with rexecutor.with_only_executors("second"):
        await until(lambda: _has_jobs_after_a_minute(backend, clock))


async def _has_jobs_after_a_minute(backend: InMemoryBackend, clock: FakeClock) -> bool:
    clock.advance(timedelta(minutes=1))
    return bool(await backend.query(Everything()))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((), "no name given"),
        (("third",), "there is no executor 'third'; there are gated, second"),
        ((1,), "there is no executor 1"),
    ],
)
def test_executors_that_cannot_be_chosen_are_refused(names: tuple[Any, ...], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Rexecutor(InMemoryBackend(), executors=[Gated(), Second]).with_only_executors(*names)


def test_the_concurrency_can_be_set_afterwards() -> None:
    rexecutor = Rexecutor(InMemoryBackend()).with_max_concurrency(7)

    assert rexecutor.max_concurrency == 7
    with pytest.raises(ConfigurationError, match="with_max_concurrency: number must be"):
        rexecutor.with_max_concurrency(0)
    assert rexecutor.max_concurrency == 7
