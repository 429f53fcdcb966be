"""Override defaults of an executor for one job: the number of attempts and the uniqueness criteria."""

import asyncio

from rexecutor import Executor, InMemoryBackend, Job, UniquenessCriteria, override_global_backend


class Import(Executor[str]):
    """Imports a file. By default a job has three attempts, and there is one import at a time."""

    name = "import"
    max_attempts = 3
    uniqueness_criteria = UniquenessCriteria.by_executor()

    async def execute(self, job: Job[str]) -> None:
        """Import the file."""


async def main() -> None:
    """Enqueue jobs with and without overrides."""
    with override_global_backend(InMemoryBackend()):
        usual = await Import.enqueue("monday.csv")
        print(f"usual: {usual.disposition}, {(await usual.fetch()).max_attempts} attempts")

        again = await Import.enqueue("tuesday.csv")
        print(f"again: {again.disposition}, {(await again.fetch()).data}")

        by_key = UniquenessCriteria.by_key("tuesday.csv")
        special = await Import.enqueue("tuesday.csv", unique=by_key, max_attempts=1)
        print(f"special: {special.disposition}, {(await special.fetch()).max_attempts} attempt")


asyncio.run(main())
