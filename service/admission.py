"""Who may wait: work is counted in expected seconds, and turned away where too many wait."""

from __future__ import annotations

import math
from collections import defaultdict

from service.errors import Hopeless, Overloaded, ShareExceeded

MEMORY = 5.0  # seconds over which the drain rate is averaged
FEWEST_SECONDS = 0.05  # of measurement before the rate is believed


class Admission:
    """Seconds of work that were let in and are not done yet, in all and of each caller.

    Args:
        queue_seconds: how many may wait.
        caller_share: which part of them one caller may have.
    """

    def __init__(self, queue_seconds: float, caller_share: float) -> None:
        self.queue_seconds = queue_seconds
        self.caller_share = caller_share
        self._of_callers: defaultdict[str, float] = defaultdict(float)
        self._turned_away: dict[str, ShareExceeded] = {}  # callers, since work was last done
        self.backlog = 0.0
        self._done = 0.0  # expected seconds of work, with exponential forgetting,
        self._passed = 0.0  # and the real seconds that it took

    def check_room(self, caller: str | None = None) -> None:
        """Turn away what would hardly be let in, before anything is done for it.

        Raises:
            Overloaded: nothing more is let in, of whatever cost.
            ShareExceeded: the caller was told so already, and no work was done since.
        """
        if self.backlog >= self.queue_seconds:
            raise self._overloaded(self.backlog)
        if caller is not None and (told := self._turned_away.get(caller)) is not None:
            raise ShareExceeded(str(told), told.retry_after_seconds)

    def admit(self, caller: str, seconds: float, time_left: float) -> None:
        """Let work in.

        Raises:
            Overloaded: too much waits already.
            ShareExceeded: the caller has its share waiting already.
            Hopeless: it cannot be done in the time left.
        """
        own = self._of_callers.get(caller, 0.0)
        total, share = self.backlog + seconds, self.queue_seconds * self.caller_share
        # Whoever comes first is let in, however much it is: else it would never be.
        if self.backlog > 0 and total > self.queue_seconds:
            raise self._overloaded(total)
        if own > 0 and own + seconds > share:
            wait = self._real(own + seconds - share)
            told = ShareExceeded("your other requests must finish first", wait)
            self._turned_away[caller] = told
            raise told
        # Callers take turns, so that nobody's backlog delays more than as much of this.
        mine = own + seconds
        ahead = sum(
            min(theirs, mine) for name, theirs in self._of_callers.items() if name != caller
        )
        if (mine + ahead) / self.rate > time_left:
            raise Hopeless(f"it would take about {(mine + ahead) / self.rate:.1f} seconds")
        self.backlog = total
        self._of_callers[caller] += seconds

    def readmit(self, caller: str, seconds: float) -> None:
        """More work of a request that was let in before."""
        self.backlog += seconds
        self._of_callers[caller] += seconds

    def release(self, caller: str, seconds: float) -> None:
        """Work that is done, or given up."""
        self._turned_away.clear()
        self.backlog -= seconds
        self._of_callers[caller] -= seconds
        if self._of_callers[caller] <= 1e-9:
            del self._of_callers[caller]
        if not self._of_callers:
            self.backlog = 0.0  # without what rounding leaves

    def drained(self, expected: float, real: float) -> None:
        """A step took `real` seconds and finished work that was expected to take `expected`."""
        fading = math.exp(-real / MEMORY)
        self._done = self._done * fading + expected
        self._passed = self._passed * fading + real

    @property
    def rate(self) -> float:
        """Expected seconds of work that are done in a real second."""
        if self._passed < FEWEST_SECONDS or self._done <= 0:
            return 1.0
        return min(max(self._done / self._passed, 0.05), 20.0)

    def _overloaded(self, total: float) -> Overloaded:
        wait = self._real(total - self.queue_seconds)
        return Overloaded("too much work is waiting; try again later", wait)

    def _real(self, expected: float) -> int:
        """Whole real seconds until so much is done."""
        return max(1, math.ceil(expected / self.rate))
