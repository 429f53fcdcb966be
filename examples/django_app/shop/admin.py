"""Orders in the admin. The jobs are there by themselves."""

from django.contrib import admin

from shop.models import Order

admin.site.register(Order)
