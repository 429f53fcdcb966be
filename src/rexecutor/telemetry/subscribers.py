"""The subscribers of events: `subscribe` adds a callback, `emit` logs an event and passes it to the callbacks."""

from collections.abc import Callable, Collection
from inspect import iscoroutinefunction
from typing import Final, NamedTuple, TypeAlias

from rexecutor.affinity import GUARD
from rexecutor.errors import ConfigurationError
from rexecutor.model.checks import mistake
from rexecutor.telemetry.events import Event, SubscriberFailed
from rexecutor.telemetry.log import log_event, no_command

Subscriber: TypeAlias = Callable[[Event], object]
"""A callback that receives events. Its return value is ignored."""


class _Subscription(NamedTuple):
    callback: Subscriber
    sources: Collection[object] | None
    """The sources whose events it receives, besides events that have no source; None for all."""
    failed: set[type[Event]]
    """Kinds of events with which it has raised."""


class _Subscriptions:
    """The subscriptions of the process. Each change makes a new tuple, so that readers need no lock."""

    def __init__(self) -> None:
        self.all: tuple[_Subscription, ...] = ()

    def add(self, subscription: _Subscription) -> None:
        with GUARD:
            self.all = (*self.all, subscription)

    def remove(self, subscription: _Subscription) -> None:
        with GUARD:
            self.all = tuple(one for one in self.all if one is not subscription)

    def of(self, source: object | None) -> tuple[_Subscription, ...]:
        """Return the subscriptions that receive the events of this source, one for each callback."""
        found: list[_Subscription] = []
        for one in self.all:
            is_theirs = source is None or one.sources is None or any(source is each for each in one.sources)
            if is_theirs and all(one.callback != other.callback for other in found):
                found.append(one)
        return tuple(found)


_SUBSCRIPTIONS: Final = _Subscriptions()


def subscribe(callback: Subscriber) -> Callable[[], None]:
    """Call the callback with each event of this process from now on. Return a function that ends the subscription.

    ```python
    def count_failures(event: Event) -> None:
        match event:
            case JobEnded(executor=name, outcome=Failed() | Discarded()):
                failures[name] += 1
            case _:
                pass


    unsubscribe = rexecutor.subscribe(count_failures)
    ```

    The callback is called where the event happens, before the code there goes on: mostly in the event loop, but also in
    other threads, in several at the same time. So it must be quick and safe for threads. If it raises, that is logged
    once for each kind of event, and nothing else happens. If it is subscribed twice, it is called once for each event,
    until both subscriptions have ended.

    While somebody has subscribed, each attempt makes two events, `JobStarted` and `JobEnded`; see `rexecutor.events`.

    Args:
        callback: A function or another callable that takes the event; what it returns is ignored. Not an `async def`.

    Returns:
        A function without arguments. It may be called from any thread, and more than once.

    Raises:
        ConfigurationError: The callback cannot be called, or is an `async def`.
    """
    return add_subscriber(checked_subscriber("subscribe: callback", callback), None)


def checked_subscriber(what: str, callback: Subscriber) -> Subscriber:
    """Return the callback, or raise a `ConfigurationError` if it cannot be called or is asynchronous."""
    if not callable(callback):
        raise mistake(what, "a callable that takes an event", callback)
    if iscoroutinefunction(callback) or iscoroutinefunction(type(callback).__call__):
        raise ConfigurationError(f"{what}: an `async def` is given; give a plain function, which may start a task")
    return callback


def add_subscriber(callback: Subscriber, sources: Collection[object] | None) -> Callable[[], None]:
    """Subscribe a callback to the events of these sources, and to those that have no source. None for all sources."""
    subscription = _Subscription(callback, sources, set())
    _SUBSCRIPTIONS.add(subscription)

    def unsubscribe() -> None:
        _SUBSCRIPTIONS.remove(subscription)

    return unsubscribe


def is_anybody_subscribed() -> bool:
    """Whether there is any subscriber, of any source. If not, no event is made for a success."""
    return bool(_SUBSCRIPTIONS.all)


def emit(event: Event, *, source: object | None = None) -> None:
    """Log the event, and pass it to the subscribers.

    Args:
        event: The event.
        source: What it happened to, such as a backend; None if all subscribers are to receive it.
    """
    log_event(event)
    if _SUBSCRIPTIONS.all:
        _pass_on(event, _SUBSCRIPTIONS.of(source))


class Emitter:
    """Emits the events of one source: of a `Rexecutor` and its nodes."""

    def __init__(self, command: Callable[[str], str | None] = no_command) -> None:
        """Make an emitter, which is the source of its events.

        Args:
            command: Returns the shell command that a log line names, as for `log_event`.
        """
        self._command = command
        self._known: tuple[_Subscription, ...] = ()
        self._ours: tuple[_Subscription, ...] = ()

    def __call__(self, event: Event) -> None:
        """Log the event, and pass it to the subscribers."""
        log_event(event, command=self._command)
        if _SUBSCRIPTIONS.all:
            self.tell(event)

    def tell(self, event: Event) -> None:
        """Pass the event to the subscribers, without logging it. The hot path: there are two such events a job."""
        known = _SUBSCRIPTIONS.all
        if known is not self._known:
            self._ours, self._known = _SUBSCRIPTIONS.of(self), known
        for subscription in self._ours:
            try:
                subscription.callback(event)
            except BaseException as error:  # noqa: BLE001 - it stands in the job boundary, which goes on
                _note_failure(subscription, event, error)


def _pass_on(event: Event, subscriptions: tuple[_Subscription, ...]) -> None:
    for subscription in subscriptions:
        try:
            subscription.callback(event)
        except BaseException as error:  # noqa: BLE001 - it may stand in the job boundary or in a duty, which go on
            _note_failure(subscription, event, error)


def _note_failure(subscription: _Subscription, event: Event, error: BaseException) -> None:
    """Emit that the callback raised, unless it did so before with such an event. Nobody waits for it, or repeats it."""
    kind = type(event)
    if kind in subscription.failed:
        return
    subscription.failed.add(kind)
    failure = SubscriberFailed(_name_of(subscription.callback), kind.__name__, error)
    log_event(failure)
    if not isinstance(event, SubscriberFailed):
        others = [one for one in _SUBSCRIPTIONS.all if one is not subscription]
        _pass_on(failure, tuple(others))


def _name_of(callback: object) -> str:
    """Return the callback's qualified name, or that of its class."""
    name: object = getattr(callback, "__qualname__", None)
    return name if isinstance(name, str) else type(callback).__qualname__
