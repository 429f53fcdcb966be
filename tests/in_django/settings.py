"""Django's settings for all of these tests, in this process and in those that they start.

Tests name no database here: the fixtures `sqlite_database` and `postgres_database` of `conftest.py` give each test
databases of its own. A process that a test starts finds them by the variables in its environment (`child_environment`).
"""

import json
import os
from typing import Any, Final

DATABASES_GIVEN: Final = "REXECUTOR_TEST_DJANGO_DATABASES"
"""The environment's name for what differs from `DATABASES`, as JSON: settings by alias."""
SETTINGS_GIVEN: Final = "REXECUTOR_TEST_DJANGO_SETTINGS"
"""The environment's name for other settings, as JSON, such as `{"USE_TZ": false, "TASKS": …}`."""

NONE_GIVEN: Final = "/nonexistent/ask-for-a-database-fixture"

SECRET_KEY = "for tests"  # noqa: S105
USE_TZ = True
TIME_ZONE = "UTC"
LOGGING_CONFIG = None  # the logging of the other tests in this process stays as it is
ROOT_URLCONF = "tests.in_django.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "rexecutor.django",
    "tests.in_django.shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": NONE_GIVEN,
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
    },
    "postgres": {"ENGINE": "django.db.backends.postgresql", "HOST": NONE_GIVEN, "NAME": "none"},
}
for _alias, _given in json.loads(os.environ.get(DATABASES_GIVEN, "{}")).items():
    DATABASES[_alias] |= _given

TASKS: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "rexecutor.django.TaskBackend", "OPTIONS": {"STORE": "memory:"}},
}

globals().update(json.loads(os.environ.get(SETTINGS_GIVEN, "{}")))
