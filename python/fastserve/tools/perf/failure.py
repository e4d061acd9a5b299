"""What ends a measurement with one line for the user."""


class PerfError(Exception):
    """The load cannot be made or went wrong; str() is what to print."""
