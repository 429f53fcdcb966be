"""Make a function a job, enqueue it for later, and check what was enqueued, as a test of an application does.

The backend is paused: it hands out no jobs, so the enqueued job stays in it.
"""

import asyncio
from datetime import timedelta

from rexecutor import InMemoryBackend, Rexecutor, job
from rexecutor.testing import assert_enqueued


@job(max_attempts=2)
async def send_email(to: str, subject: str = "hello") -> int:
    """Send a mail, and return how many characters it has."""
    print(f"to {to}: {subject}")
    return len(subject)


async def main() -> None:
    """Enqueue one job, find it, and call the function itself."""
    backend = InMemoryBackend().paused()
    async with Rexecutor(backend, executors=[send_email]).set_global_backend():
        in_three_hours = send_email.options(schedule_in=timedelta(hours=3))
        handle = await in_three_hours.enqueue("bob@example.com", subject="your order")
        print(f"enqueued job {handle.id}")

        now = backend.clock.now()
        [found] = await assert_enqueued(
            1,
            for_executor=send_email,
            with_data=send_email.data("bob@example.com", subject="your order"),
            scheduled_after=now + timedelta(minutes=170),
            scheduled_before=now + timedelta(minutes=190),
        )
        print(f"found: {found.executor}, {found.status}, at most {found.max_attempts} attempts")

        print(f"called: {await send_email('ann@example.com')} characters")


asyncio.run(main())
