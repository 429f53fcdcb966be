# pyright: basic, reportMissingModuleSource=false
"""What is done outside of requests. A worker imports this module by itself."""

from django.core.mail import send_mail
from django.tasks import task
from django.utils import timezone

from shop.models import Order


@task
def send_receipt(order_id: int) -> str:
    """Send the receipt of an order. It may run again if a worker dies, so it looks whether it was sent."""
    order = Order.objects.get(pk=order_id)
    if order.receipt_sent_at is None:
        send_mail("Your order", f"Thank you for {order.reference}.", None, [order.email])
        order.receipt_sent_at = timezone.now()
        order.save()
    return order.reference
