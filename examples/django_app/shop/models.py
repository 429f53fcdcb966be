# pyright: basic
"""What the shop stores."""

from django.db import models


class Order(models.Model):
    """An order, and whether its buyer has got a receipt."""

    reference = models.CharField(max_length=100)
    email = models.EmailField()
    receipt_sent_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.reference
