"""Error reports for Sentry. Install the extra: `pip install 'rexecutor[sentry]'`."""

from typing import Any, Final

import sentry_sdk
from sentry_sdk.integrations.logging import ignore_logger
from sentry_sdk.utils import event_from_exception

from rexecutor.engine.failure import ChildFailedError
from rexecutor.model.job import JobError, detail_lines
from rexecutor.model.outcomes import Discarded, Failed
from rexecutor.telemetry.events import (
    BackoffFailed,
    DutyFailed,
    EnqueueForgotten,
    Event,
    JobEnded,
    JobStarted,
    LeaseLost,
    LoopBlocked,
    NodeStopped,
    ProviderNotClosed,
    SubscriberFailed,
)

__all__ = ["SentryReports"]

_LOGGER: Final = "rexecutor"
_LONGEST_VALUE: Final = 8_192
"""Number of characters of an exception's message. Sentry refuses an event above 1 MiB."""
_MOST_EXCEPTIONS: Final = 50
"""Number of exceptions of one event: of a chain, those that were raised last."""


class SentryReports:
    """A subscriber that reports to Sentry: `Rexecutor(…, on_event=SentryReports())`.

    Each failed attempt is one event with its exception, grouped by executor and exception. Its tags are
    `rexecutor.executor`, `rexecutor.job`, `rexecutor.attempt` and `rexecutor.status`. Its level is `error` if the job
    is discarded, otherwise `warning`. It holds neither the job's data nor local variables, which may hold them. What
    goes wrong in a node itself, such as a claim that fails, is an event too.

    Each attempt has an isolation scope of its own with the first three tags, so what the job's code reports by itself
    has them too.

    The SDK reports log lines at ERROR by itself. Those of the logger `rexecutor` would repeat these events, with local
    variables, so the SDK is told to ignore that logger. Before `sentry_sdk.init`, nothing is reported.
    """

    def __init__(self) -> None:
        """Make the subscriber. It uses the SDK as the application has set it up with `sentry_sdk.init`."""
        ignore_logger(_LOGGER)

    def __call__(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case an event
        """Report the event if it is a failure."""
        if not sentry_sdk.get_client().is_active():
            return
        match event:
            case JobStarted():
                _begin_scope(event)
            case JobEnded(outcome=Failed(error) | Discarded(error)):
                _report_attempt(event, error)
            case JobEnded():
                pass
            case DutyFailed(duty, error):
                _report(error, f"{duty} failed", duty)
            case BackoffFailed(_, executor, _, error):
                _report(error, f"{executor}: backoff failed", executor)
            case ProviderNotClosed(provider, error):
                _report(error, f"the provider {provider} could not be closed", provider)
            case SubscriberFailed(subscriber, _, error):
                _report(error, f"the subscriber {subscriber} raised", subscriber)
            case LoopBlocked(_, _, executor, _, stack):
                what = "code outside the jobs" if executor is None else executor
                _send({"message": f"{what} blocks the event loop", "extra": {"stack": stack}}, "LoopBlocked", what)
            case LeaseLost():
                _send({"message": "a node could not renew its lease"}, "LeaseLost")
            case NodeStopped(unsettled=unsettled) if unsettled:
                _send({"message": "a node stopped before all outcomes were delivered"}, "NodeStopped")
            case EnqueueForgotten(executor, call):
                _send({"message": f"{executor}: {call} was never awaited"}, "EnqueueForgotten", executor)
            case _:
                pass


def _begin_scope(event: JobStarted) -> None:
    """Give the job an isolation scope. The event comes in the job's own context, which has none yet."""
    scope = sentry_sdk.get_isolation_scope()
    scope.set_transaction_name(event.executor, source="task")
    for name, value in _tags(event).items():
        scope.set_tag(name, value)


def _tags(event: JobStarted | JobEnded) -> dict[str, str]:
    return {
        "rexecutor.executor": event.executor,
        "rexecutor.job": str(event.job_id),
        "rexecutor.attempt": str(event.attempt),
    }


def _report_attempt(event: JobEnded, error: JobError) -> None:
    raised = event.exception
    described = None
    if raised is not None and type(raised) is not ChildFailedError:  # else the exception itself is in another process
        described = _described(raised)
    if described is None:
        report = _named(error.type_name, detail_lines(error)[-1]) | {"extra": {"traceback": error.details}}
        hint = None
    else:
        report, hint = described
    report["level"] = "error" if event.status == "discarded" else "warning"
    report["transaction"] = event.executor
    report["tags"] = {**_tags(event), "rexecutor.status": event.status}
    report["fingerprint"] = ["rexecutor", event.executor, error.type_name]
    sentry_sdk.capture_event(report, hint)  # pyright: ignore[reportArgumentType] - the SDK's type names every key


def _report(error: BaseException, message: str, *group: str) -> None:
    name: str = type.__dict__["__name__"].__get__(type(error))  # its metaclass may raise anything
    report, hint = _described(error) or (_named(name, "an exception that could not be shown"), None)
    report["extra"] = {"what": message}
    report["fingerprint"] = ["rexecutor", *group, name]
    sentry_sdk.capture_event(report, hint)  # pyright: ignore[reportArgumentType] - as above


def _send(report: dict[str, Any], *group: str) -> None:
    report |= {"level": "error", "fingerprint": ["rexecutor", *group]}
    sentry_sdk.capture_event(report)  # pyright: ignore[reportArgumentType] - as above


def _described(error: BaseException) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return an exception as an event, and the SDK's hint; None if the SDK cannot read the exception.

    Without local variables, because they may hold job data.
    """
    options = {**sentry_sdk.get_client().options, "include_local_variables": False}
    mechanism = {"type": "rexecutor", "handled": True}
    try:
        event, hint = event_from_exception(error, client_options=options, mechanism=mechanism)
    except BaseException:  # noqa: BLE001 - an exception's own methods may raise anything
        return None
    report: dict[str, Any] = dict(event)
    exceptions: list[dict[str, Any]] = report["exception"]["values"][-_MOST_EXCEPTIONS:]
    report["exception"]["values"] = [{**one, "value": _cut(one.get("value"))} for one in exceptions]
    return report, hint


def _named(name: str, text: str) -> dict[str, Any]:
    return {"exception": {"values": [{"type": name, "value": _cut(text)}]}}


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:_LONGEST_VALUE]
