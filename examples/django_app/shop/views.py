# pyright: basic
"""Orders by HTTP."""

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from shop.models import Order
from shop.tasks import send_receipt


class DeclinedError(Exception):
    """The card was declined."""


@csrf_exempt  # so that curl may post to this example
@require_POST
def place_order(request: HttpRequest) -> JsonResponse:
    """Store an order and what follows from it, both or neither."""
    try:
        with transaction.atomic():
            order = Order.objects.create(reference=request.POST["reference"], email=request.POST["email"])
            send_receipt.enqueue(order.pk)
            charge(order)
    except DeclinedError:
        return JsonResponse({"error": "declined"}, status=402)
    return JsonResponse({"id": order.pk}, status=201)


@require_GET
def show_order(_: HttpRequest, order_id: int) -> JsonResponse:
    """Show an order."""
    order = get_object_or_404(Order, pk=order_id)
    return JsonResponse({"reference": order.reference, "receipt_sent": order.receipt_sent_at is not None})


def charge(order: Order) -> None:
    """Stand in for a payment."""
    if order.reference == "too expensive":
        raise DeclinedError
