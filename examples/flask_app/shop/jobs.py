"""The jobs, and where they are stored: in the shop's own file, so that orders and jobs share transactions."""

import os
import time

from rexecutor import Rexecutor, SQLiteBackend, job

from .orders import Order, db

GATEWAY_SECONDS = float(os.environ.get("GATEWAY_SECONDS", "0.2"))

backend = SQLiteBackend(os.environ.get("SHOP_DB", "shop.db"))
Rexecutor(backend).set_global_backend()  # never started: `enqueue_sync` opens the file for each call


def pay(order: int, cents: int) -> str:
    """Stand in for a payment service, which charges an order once, however often it is asked."""
    time.sleep(GATEWAY_SECONDS)
    return f"receipt {order}: {cents} cents"


@job(blocking=True, max_attempts=5)
def charge(order_id: int) -> str:
    """Charge an order, and keep the receipt. It may run again from its beginning: if its worker dies, for example."""
    order = db.session.get_one(Order, order_id)
    receipt = pay(order_id, order.cents)
    order.receipt = receipt
    db.session.commit()
    return receipt
