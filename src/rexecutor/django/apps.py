"""The Django application: `"rexecutor.django"` in `INSTALLED_APPS`."""

from typing import Any

from django.apps import AppConfig
from django.core.signals import setting_changed
from django.db.models.signals import pre_save


class RexecutorConfig(AppConfig):
    """Configuration of the application: registers the checks, and points the models at the tables."""

    name = "rexecutor.django"
    label = "rexecutor"
    verbose_name = "Rexecutor"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks, and point the models at the tables that the settings name."""
        from rexecutor.django import checks, models  # models may be imported only now

        checks.register_all()
        models.place_tables()
        setting_changed.connect(_place_tables, dispatch_uid="rexecutor.django")
        pre_save.connect(models.refuse_raw, dispatch_uid="rexecutor.django")


def _place_tables(*, setting: str, **_: Any) -> None:
    """Point the models at other tables when a test changes the settings."""
    if setting in ("TASKS", "DATABASES"):
        from rexecutor.django import models  # as above

        models.place_tables()
