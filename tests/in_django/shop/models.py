"""What the application of the tests stores."""

from django.db import models


class Order(models.Model):
    """An order, which tasks and enqueues are committed or rolled back with."""

    reference: "models.CharField[str, str]" = models.CharField(max_length=100, unique=True)
    paid: "models.BooleanField[bool, bool]" = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.reference
