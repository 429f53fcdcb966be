"""The databases that the tests of Django get."""

import pytest
from django.db import connections

from tests.in_django.shop.models import Order


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_a_migrated_database_of_its_own(database: str, turn: int) -> None:
    Order.objects.using(database).create(reference="a")

    assert Order.objects.using(database).count() == 1
    assert connections[database].introspection.table_names()
