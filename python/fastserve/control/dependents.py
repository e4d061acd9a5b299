"""What goes with an ensemble that is unloaded with `unload_dependents`."""

from collections.abc import Iterable


def dependents(name: str, loaded: dict[str, list[str]]) -> list[str]:
    """The members of the ensemble `name`, and theirs, that nothing else loaded needs.

    `loaded` has the loaded ensembles and their members.
    """
    found = [member for member in _members_of([name], loaded) if member != name]
    stays = [ensemble for ensemble in loaded if ensemble != name and ensemble not in found]
    needed = set(_members_of(stays, loaded))
    return [member for member in found if member not in needed]


def _members_of(ensembles: Iterable[str], loaded: dict[str, list[str]]) -> list[str]:
    """The members of all these and, where they are ensembles, theirs; each once."""
    found: list[str] = []
    waiting = list(ensembles)
    while waiting:
        for member in loaded.get(waiting.pop(0), []):
            if member not in found:
                found.append(member)
                waiting.append(member)
    return found
