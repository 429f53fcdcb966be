"""A global backend: code that enqueues need not be handed one. It is set once; a second time is an error.

It has the drawbacks of any global variable. In tests, `override_global_backend` takes its place for a block.
"""

import asyncio

from rexecutor import Executor, GlobalBackendError, InMemoryBackend, Job, JobHandle, Rexecutor, override_global_backend
from rexecutor.testing import assert_enqueued, refute_enqueued


class Remind(Executor[str]):
    """Reminds somebody."""

    name = "remind"

    async def execute(self, job: Job[str]) -> None:
        """Do it."""
        print(f"reminded {job.data}")


async def sign_up(name: str) -> JobHandle[str, None]:
    """Enqueue a job deep in the application, where no backend is at hand."""
    return await Remind.builder().with_data(name).enqueue()


async def main() -> None:
    """Use it, and see where it cannot be used."""
    async with Rexecutor(InMemoryBackend()).with_executor(Remind).set_global_backend() as rexecutor:
        handle = await sign_up("ann")
        await handle.wait()

        try:
            rexecutor.set_global_backend()
        except GlobalBackendError as error:
            print(f"a second time: {error}")

        with override_global_backend(InMemoryBackend()) as test_backend:
            await sign_up("bob")
            await assert_enqueued(1, for_executor=Remind, with_data="bob", backend=test_backend)
        await refute_enqueued(for_executor=Remind, with_data="bob")
        print("bob's job is in the test's backend alone")

    try:
        await sign_up("eve")
    except GlobalBackendError as error:
        print(f"after the end: {error}")


asyncio.run(main())
