"""What became of each name from one commit to the other."""

from benchmarks.digest.hashing import Digests


def compare(old: Digests, new: Digests) -> dict[str, list[str]]:
    """Sort the names into equal, renamed, different, other inputs, only old, only new.

    Renamed are names of one commit only whose inputs and results are those of a name of the other one.
    """
    found: dict[str, list[str]] = {
        kind: [] for kind in ("equal", "renamed", "different", "other inputs", "only old", "only new")
    }
    free = {}
    for name in sorted(new.keys() - old.keys()):
        free.setdefault((_settings(name), new[name]), []).append(name)
    for name, value in sorted(old.items()):
        if name not in new:
            same = free.get((_settings(name), value))
            found["renamed" if same else "only old"].append(f"{name} -> {same.pop(0)}" if same else name)
        elif new[name] == value:
            found["equal"].append(name)
        else:
            same_inputs = new[name].partition(":")[0] == value.partition(":")[0]
            found["different" if same_inputs else "other inputs"].append(name)
    found["only new"] = sorted(name for names in free.values() for name in names)
    return found


def _settings(name: str) -> str:
    """Return what stands before the last word: stage, backend, precision, threads, type."""
    return name.rpartition(" ")[0]
