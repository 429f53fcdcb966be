# ruff: noqa: PT009
"""`python manage.py test`."""

from typing import Any

from django.core import mail
from django.test import TestCase

from rexecutor.django.testing import enqueued_tasks, run_tasks
from rexecutor.testing import Drained
from shop.models import Order
from shop.tasks import send_receipt


class OrderTest(TestCase):
    """Each test is a transaction, which takes its jobs with it when it is rolled back."""

    def place(self, reference: str) -> Any:
        """Place an order."""
        return self.client.post("/orders/", {"reference": reference, "email": "bob@example.com"})

    def test_the_buyer_gets_a_receipt(self) -> None:
        """The view has enqueued it, and a run of the tasks sends it."""
        order = self.place("A-1").json()["id"]
        self.assertEqual([task.args for task in enqueued_tasks(send_receipt)], [[order]])

        self.assertEqual(run_tasks(), Drained(complete=1))

        self.assertEqual([message.to for message in mail.outbox], [["bob@example.com"]])
        self.assertTrue(self.client.get(f"/orders/{order}/").json()["receipt_sent"])

    def test_no_receipt_follows_from_an_order_that_is_rolled_back(self) -> None:
        """Neither the order nor the task is there."""
        self.assertEqual(self.place("too expensive").status_code, 402)

        self.assertFalse(Order.objects.exists())
        self.assertEqual(enqueued_tasks(), [])
