"""The loads that wait for others because the code of their models asked for these."""

import threading
from collections import Counter

from fastserve.errors import UnavailableError


class LoadChain:
    """Thread safe. Invariant: no load waits for itself, however indirectly."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Guarded by _lock: how many calls of a model that is being loaded wait for another one.
        self._calls: Counter[tuple[str, str]] = Counter()

    def enter(self, loading: str, target: str) -> frozenset[str]:
        """The code of `loading` waits for what is to be done with `target`, until leave(). Returns
        the models whose loads wait for it. UnavailableError, naming the chain, when `target` waits
        for `loading`: it would wait for ever.
        """
        with self._lock:
            chain = self._path(target, loading)
            if chain:
                raise UnavailableError(
                    f"model '{target}' cannot be loaded or unloaded by model '{loading}', which is "
                    f"itself being loaded for it ({' -> '.join([loading, *chain])})"
                )
            self._calls[loading, target] += 1
            return self._waiting_for(target)

    def leave(self, loading: str, target: str) -> None:
        with self._lock:
            self._calls[loading, target] -= 1
            if not self._calls[loading, target]:
                del self._calls[loading, target]

    def _path(self, start: str, end: str) -> list[str]:
        """The models from `start` to `end`, each waiting for the next; empty when there is none."""
        paths, seen = [[start]], {start}
        for path in paths:
            if path[-1] == end:
                return path
            following = {b for a, b in self._calls if a == path[-1]} - seen
            seen |= following
            paths += [[*path, name] for name in sorted(following)]
        return []

    def _waiting_for(self, target: str) -> frozenset[str]:
        found: set[str] = set()
        left = [target]
        while left:
            name = left.pop()
            callers = {a for a, b in self._calls if b == name} - found
            found |= callers
            left += callers
        return frozenset(found)
