"""The orders."""

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The base of all tables."""


db = SQLAlchemy(model_class=Base)


class Order(Base):
    """What somebody has ordered."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    cents: Mapped[int]
    receipt: Mapped[str | None]
    """Written by the job `charge`."""
