"""Where batch systems are looked for by name."""

from __future__ import annotations

import difflib
from pathlib import Path

import gan3d
from gan3d.errors import UsageError

SYSTEMS = Path(gan3d.__file__).parent.parent / "jobs" / "systems"
"""The systems that come with the sources."""


def find_system(name: str) -> Path:
    """The YAML file of a batch system: a path as it is, or a name among those of the sources.

    Raises UsageError, naming what there is, for a name that is not known.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name)
    path = SYSTEMS / f"{name}.yaml"
    if path.is_file():
        return path
    names = sorted(each.stem for each in SYSTEMS.glob("*.yaml"))
    if not names:
        raise UsageError(
            f"no system '{name}': gan3d was installed without its sources; give the path of a "
            "system's YAML file (jobs/systems/ in the sources)"
        )
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}"
    raise UsageError(f"no system '{name}'; {hint} A path to a YAML file is also taken")
