"""How long a client may take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HttpTimeouts:
    """Seconds. One coarse timer per event loop checks them: each may take a quarter more."""

    # No request begins. Longer than the idle timeout of common reverse proxies.
    idle_s: float = 3630.0
    # From the first byte of a request's head to its last.
    head_s: float = 30.0
    # Between two receptions of a body's bytes.
    body_s: float = 30.0
    # The client takes no byte of its response.
    stall_s: float = 120.0
    # The rest of a refused request is read and ignored.
    linger_s: float = 5.0

    @property
    def check_interval_s(self) -> float:
        shortest = min(self.idle_s, self.head_s, self.body_s, self.stall_s, self.linger_s)
        return min(max(shortest / 4, 0.01), 5.0)
