# pyright: basic, reportMissingImports=false
"""Procrastinate: https://procrastinate.readthedocs.io. One worker with 100 coroutines, LISTEN/NOTIFY, jobs are kept."""

from procrastinate import App, PsycopgConnector

from benchmarks.adapters.harness import FAIL_EVERY, SLOTS, TO, URL, Adapter, body

app = App(connector=PsycopgConnector(conninfo=URL, min_size=4, max_size=20))


@app.task(name="mail", retry=1 if FAIL_EVERY else False)
async def mail(to: str, order: int) -> None:  # noqa: ARG001
    await body(order)


class ProcrastinateAdapter(Adapter):
    async def prepare(self) -> None:
        async with App(connector=PsycopgConnector(conninfo=URL)).open_async() as fresh:
            await fresh.schema_manager.apply_schema_async()

    async def open(self) -> None:
        await app.open_async()

    async def close(self) -> None:
        await app.close_async()

    async def enqueue(self, order: int) -> object:
        return await mail.defer_async(to=TO, order=order)

    async def enqueue_many(self, orders: range) -> object:
        return await mail.batch_defer_async(*({"to": TO, "order": order} for order in orders))

    async def left(self) -> int:
        row = await app.connector.execute_query_one_async(
            "SELECT count(*) AS jobs FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        )
        return row["jobs"]

    async def work(self) -> object:
        return await app.run_worker_async(concurrency=SLOTS, install_signal_handlers=False)


ADAPTER = ProcrastinateAdapter
