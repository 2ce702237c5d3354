"""How fast a long job goes, and how long it will go on."""

from __future__ import annotations

from collections import deque

WINDOW_S = 60.0
"""The rate is that of the last minute: a job that gets slower says so."""
STEP_S = 0.5
"""Between two remembered points of time."""
LEAST_S = 0.2
"""Before so much time has passed, and one step is done, nothing is said of the rate."""


class Pace:
    """The rate of one stage of a job, from what it says of itself.

    What was done before it began (an earlier run's share) says nothing of its rate.

    Parameters
    ----------
    now : float
        Seconds on any clock that does not run backwards.
    done, total : int
        Steps done so far, and steps in all.

    Examples
    --------
    >>> pace = Pace(0.0, 100, 300)
    >>> pace.tell(2.0, 200, 300)
    >>> pace.rate, pace.left_s(2.5)
    (50.0, 1.5)
    >>> print(pace.said(2.0))
    50.0/s 0:02 left
    """

    def __init__(self, now: float, done: int, total: int) -> None:
        self.began = now
        self.done, self.total = done, total
        self._points: deque[tuple[float, int]] = deque([(now, done)])
        self._last = now

    def tell(self, now: float, done: int, total: int) -> None:
        """Note that so much is done now."""
        self.done, self.total, self._last = done, total, now
        if len(self._points) < 2 or now - self._points[-2][0] >= STEP_S:
            self._points.append((now, done))
        else:
            self._points[-1] = (now, done)
        while len(self._points) > 2 and now - self._points[1][0] > WINDOW_S:
            self._points.popleft()

    @property
    def rate(self) -> float | None:
        """Steps a second over the last minute; None while it is not known."""
        (start, before), (end, done) = self._points[0], self._points[-1]
        return (done - before) / (end - start) if done > before and end > start + LEAST_S else None

    def left_s(self, now: float) -> float | None:
        """Return how long the rest will take, None while the rate is not known."""
        rate = self.rate
        return None if rate is None else max(0.0, (self.total - self.done) / rate - (now - self._last))

    def said(self, now: float) -> str:
        """Return rate and time left as people read them, nothing while they are not known."""
        rate, left = self.rate, self.left_s(now)
        if rate is None or left is None:
            return ""
        return said_rate(rate) + (f" {clock(left)} left" if self.done < self.total else "")


def said_rate(rate: float) -> str:
    """Return steps a second, or a minute or an hour where they are few.

    Examples
    --------
    >>> said_rate(43.21), said_rate(1234.5), said_rate(0.5), said_rate(0.004)
    ('43.2/s', '1234/s', '30.0/min', '14.4/h')
    """
    if rate >= 1:
        return f"{rate:.1f}/s" if rate < 99.95 else f"{rate:.0f}/s"
    return f"{60 * rate:.1f}/min" if rate * 60 >= 1 else f"{3600 * rate:.1f}/h"


def clock(seconds: float) -> str:
    """Return a duration as a clock shows it.

    Examples
    --------
    >>> clock(27), clock(61.2), clock(7300), clock(200_000)
    ('0:27', '1:01', '2:01:40', '2 d 7 h')
    """
    whole = round(seconds)
    if whole >= 86_400:
        return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}"
