"""One pace for all threads that ask a server."""

import collections
import contextlib
import threading
import time
from collections.abc import Iterator


class Stopped(Exception):
    """The crawl was stopped while this thread waited."""


class Limiter:
    """At most `rate` requests in any second as the server sees them, evenly spaced; None: no limit.

    A request counts from its start until a second after its answer began. The server saw it
    somewhere between, so no delay on the way can bunch more than `rate` into one second.
    """

    def __init__(self, rate: float | None) -> None:
        self._spacing = 1 / rate if rate else 0.0
        self._most = max(1, int(rate)) if rate else 0
        self._window = max(1.0, self._most * self._spacing)
        self._changed = threading.Condition()
        self._open = 0
        self._answered: collections.deque[float] = collections.deque()
        self._next = self._until = 0.0
        self._stopped = False

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and hold it until the answer has begun."""
        with self._changed:
            while (wait := self._wait()) > 0:
                self._changed.wait(wait)
            self._open += 1
            self._next = time.monotonic() + self._spacing
        try:
            yield
        finally:
            with self._changed:
                self._open -= 1
                if self._most:
                    self._answered.append(time.monotonic())
                self._changed.notify_all()

    def _wait(self) -> float:
        if self._stopped:
            raise Stopped
        now = time.monotonic()
        while self._answered and self._answered[0] <= now - self._window:
            self._answered.popleft()
        wait = max(self._until, self._next) - now
        if self._most and self._open + len(self._answered) >= self._most:
            oldest = self._answered[0] + self._window - now if self._answered else self._window
            wait = max(wait, oldest)
        return wait

    def pause(self, seconds: float) -> bool:
        """Let no request of any thread begin for `seconds`; False if that was so already."""
        with self._changed:
            until = time.monotonic() + seconds
            longer = until > self._until + seconds / 2
            self._until = max(self._until, until)
            return longer

    def sleep(self, seconds: float) -> None:
        """Wait, in this thread alone; raises `Stopped` as soon as everything stops."""
        with self._changed:
            if self._changed.wait_for(lambda: self._stopped, seconds):
                raise Stopped

    def stop(self) -> None:
        """Make every wait, now and later, raise `Stopped`."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
