"""Set a global backend, so that code that enqueues needs no backend argument. Setting a second one is an error.

It has the drawbacks of any global variable. In tests, `override_global_backend` replaces it within a block.
"""

import asyncio

from rexecutor import Executor, GlobalBackendError, InMemoryBackend, Job, JobHandle, Rexecutor, override_global_backend
from rexecutor.testing import assert_enqueued, refute_enqueued


class Remind(Executor[str]):
    """Reminds somebody."""

    name = "remind"

    async def execute(self, job: Job[str]) -> None:
        """Remind the person."""
        print(f"reminded {job.data}")


async def sign_up(name: str) -> JobHandle[str, None]:
    """Enqueue a job deep in the application, which has no backend at hand."""
    return await Remind.enqueue(name)


async def main() -> None:
    """Use the global backend, and show its errors."""
    async with Rexecutor(InMemoryBackend(), executors=[Remind]).set_global_backend() as rexecutor:
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
