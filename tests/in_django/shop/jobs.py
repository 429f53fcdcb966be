"""The jobs of the tests' application that are no tasks of Django's, and the `Rexecutor` that runs them."""

from datetime import timedelta

from django.conf import settings

from rexecutor import Rexecutor, job
from rexecutor.django import backend_for
from tests.in_django.shop.models import Order


@job(blocking=True)
def pay(reference: str, database: str) -> str:
    Order.objects.using(database).filter(reference=reference).update(paid=True)
    return f"{reference} is paid"


@job(blocking="process")
def count_orders(database: str) -> int:
    return Order.objects.using(database).count()


def make() -> Rexecutor:
    """Return a `Rexecutor` whose lost jobs are rescued soon."""
    return Rexecutor(backend_for(settings.JOBS_DATABASE), executors=[pay, count_orders], lease=timedelta(seconds=1.5))


rexecutor = make()
