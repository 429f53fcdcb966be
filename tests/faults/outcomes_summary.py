"""What comes of uses that may hang, fail clearly, or fail unclearly: said in a few words."""

import asyncio
import gc
import json
import multiprocessing
import signal
from collections.abc import Awaitable, Callable, Coroutine
from types import FrameType
from typing import Any, Final

from rexecutor import RexecutorError

PATIENCE: Final = 4.0
"""Seconds after which something hangs."""


class OutcomesSummary(dict[str, str]):
    """What came of what; each is printed at once, for what comes after it may never end."""

    def __setitem__(self, what: str, answer: str) -> None:
        print(json.dumps({what: answer}), flush=True)
        super().__setitem__(what, answer)


class HangsError(BaseException):
    """Raised in the main thread when something takes too long."""


def allow_no_hanging() -> None:
    """Let the alarm of `answer_of` end what hangs in the main thread."""

    def hang(_: int, __: FrameType | None) -> None:
        raise HangsError

    signal.signal(signal.SIGALRM, hang)


def outcome_of(act: Callable[[], object]) -> str:
    """Do it, and return what came of it."""
    signal.setitimer(signal.ITIMER_REAL, PATIENCE, 0.5)  # again and again: a loop that ends may hang as well
    try:
        act()
    except BaseException as error:  # noqa: BLE001 - which one is what is asked
        return _said(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "works"


async def awaited(act: Awaitable[object]) -> str:
    """Await it, and return what came of it."""
    try:
        async with asyncio.timeout(PATIENCE):
            await act
    except Exception as error:  # noqa: BLE001 - as above
        return _said(error)
    return "works"


def outcome_in_thread(act: Coroutine[Any, Any, None]) -> str:
    """Run it in a loop of this thread's, where no signal comes, and return what came of it."""
    try:
        asyncio.run(act)
    except BaseException as error:  # noqa: BLE001 - which one is what is asked
        return _said(error)
    return "works"


async def in_child(how: str, target: Callable[..., None], *arguments: object) -> str:
    """Do it in a child process, started by `fork` or `spawn`, and return what came of it."""
    context: Any = multiprocessing.get_context(how)
    answers = context.SimpleQueue()
    process = context.Process(target=_be_child, args=(answers, target, *arguments))
    process.start()
    await asyncio.to_thread(process.join, 2 * PATIENCE)
    if process.is_alive():
        process.kill()
        return "hangs"
    return answers.get() if not answers.empty() else f"unclear: the child ended with {process.exitcode}"


def _be_child(answers: Any, target: Callable[..., None], *arguments: object) -> None:
    allow_no_hanging()
    answers.put(outcome_of(lambda: target(*arguments)))
    gc.collect()


def _said(error: BaseException) -> str:
    if isinstance(error, HangsError | TimeoutError):
        return "hangs"
    name = type(error).__name__
    if isinstance(error, RexecutorError) and str(error):
        return f"clear: {name}"
    return f"unclear: {name}: {str(error)[:150]}"
