"""The web application: `uvicorn shop.web:app`."""

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from rexecutor import JobNotFoundError, Rexecutor
from rexecutor.backend import Transaction

from .database import Order, sessions
from .jobs import backend, charge

enqueuer = Rexecutor(backend).set_global_backend()  # runs no jobs: that is the worker's business
app = FastAPI(lifespan=enqueuer.lifespan)


async def open_session() -> AsyncGenerator[AsyncSession]:
    """Open a session for a request. What it has not committed is rolled back."""
    async with sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(open_session)]


def jobs_of(session: Session) -> Transaction:
    """Enqueue in the transaction of the request's session."""
    return backend.bound_to(session)


Jobs = Annotated[Transaction, Depends(jobs_of)]


class NewOrder(BaseModel):
    """What a customer sends."""

    item: str
    cents: int


@app.post("/orders", status_code=202)
async def place(new: NewOrder, session: Session, jobs: Jobs) -> dict[str, int]:
    """Store an order and the job that charges it: both, or neither."""
    order = Order(item=new.item, cents=new.cents)
    session.add(order)
    await session.flush()
    handle = await charge.options(backend=jobs).enqueue(order.id)
    if order.cents > 100_000:
        raise HTTPException(409, "too expensive")  # not committed: there is no order, and no job
    await session.commit()
    return {"order": order.id, "job": handle.id}


@app.get("/orders/{order_id}")
async def show(order_id: int, session: Session) -> dict[str, str | None]:
    """Show an order, with its receipt once it is charged."""
    order = await session.get(Order, order_id)
    if order is None:
        raise HTTPException(404)
    return {"item": order.item, "receipt": order.receipt}


@app.get("/jobs/{job_id}")
async def show_job(job_id: int) -> dict[str, str | int | None]:
    """Show how far the job is."""
    try:
        job = await charge.get_job(job_id)
    except JobNotFoundError:
        raise HTTPException(404) from None
    return {"status": job.status, "attempt": job.attempt, "result": job.result}
