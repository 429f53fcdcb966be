"""The tables of jobs, as `rexecutor migrate` makes them."""

from django.db import migrations, models

from rexecutor.django.schema import Step


class Migration(migrations.Migration):
    """Makes version 1 of the tables.

    The models name only their keys, because Django does not manage their columns.
    """

    initial = True

    operations = (
        Step(1),
        migrations.CreateModel(
            "Job",
            [("id", models.BigIntegerField(primary_key=True, serialize=False))],
            {
                "managed": False,
                "default_permissions": ("view",),
                "permissions": (
                    ("cancel_job", "Can cancel job"),
                    ("rerun_job", "Can rerun job"),
                    ("pause_job", "Can pause and resume executors"),
                ),
            },
        ),
        migrations.CreateModel(
            "Pause",
            [("scope", models.TextField(primary_key=True, serialize=False))],
            {"managed": False, "default_permissions": ("view",)},
        ),
        migrations.CreateModel(
            "Node",
            [("id", models.TextField(primary_key=True, serialize=False))],
            {"managed": False, "default_permissions": ("view",)},
        ),
        migrations.CreateModel(
            "Schedule",
            [("id", models.TextField(primary_key=True, serialize=False))],
            {"managed": False, "default_permissions": ("view",)},
        ),
        migrations.CreateModel(
            "Group",
            [("id", models.BigIntegerField(primary_key=True, serialize=False))],
            {"managed": False, "default_permissions": ("view",)},
        ),
    )
