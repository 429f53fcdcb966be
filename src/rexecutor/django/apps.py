"""The Django application: `"rexecutor.django"` in `INSTALLED_APPS`."""

from django.apps import AppConfig


class RexecutorConfig(AppConfig):
    """Django's name, label and title of this application."""

    name = "rexecutor.django"
    label = "rexecutor"
    verbose_name = "Rexecutor"
    default_auto_field = "django.db.models.BigAutoField"
