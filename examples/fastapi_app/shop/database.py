"""The orders. `python -m shop.database` makes their table."""

import asyncio
import os

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

URL = os.environ.get("DATABASE_URL", "postgresql://localhost/shop")

engine = create_async_engine(URL.replace("postgresql:", "postgresql+psycopg:", 1))
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The base of all tables."""


class Order(Base):
    """What somebody has ordered."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    cents: Mapped[int]
    receipt: Mapped[str | None]
    """Written by the job `charge`."""


async def create_tables() -> None:
    """Make the table, unless it is there."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(create_tables())
