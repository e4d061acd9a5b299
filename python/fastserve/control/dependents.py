"""What goes with an ensemble that is unloaded with `unload_dependents`."""


def dependents(name: str, loaded: dict[str, list[str]]) -> list[str]:
    """The members of the ensemble `name`, and theirs, that nothing else loaded needs.

    `loaded` has the members of every loaded model: none where it is no ensemble.
    """
    found: list[str] = []
    waiting = list(loaded.get(name, []))
    while waiting:
        member = waiting.pop(0)
        if member != name and member not in found:
            found.append(member)
            waiting += loaded.get(member, [])
    # One that stays keeps its own members, too.
    stays = [model for model in loaded if model != name and model not in found]
    needed: set[str] = set()
    while stays:
        for member in loaded.get(stays.pop(), []):
            if member not in needed:
                needed.add(member)
                stays.append(member)
    return [member for member in found if member not in needed]
