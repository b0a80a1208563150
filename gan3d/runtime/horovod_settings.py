"""The `horovod` section, in the words that Horovod reads when it starts: its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from gan3d.config import Horovod

_MIB = 2**20

HOROVOD_VARIABLES = {
    "fusion_threshold_mb": "HOROVOD_FUSION_THRESHOLD",
    "cycle_time_ms": "HOROVOD_CYCLE_TIME",
    "cache_capacity": "HOROVOD_CACHE_CAPACITY",
    "hierarchical_allreduce": "HOROVOD_HIERARCHICAL_ALLREDUCE",
    "hierarchical_allgather": "HOROVOD_HIERARCHICAL_ALLGATHER",
    "autotune": "HOROVOD_AUTOTUNE",
    "autotune_log_file": "HOROVOD_AUTOTUNE_LOG",
    "timeline_filename": "HOROVOD_TIMELINE",
    "timeline_mark_cycles": "HOROVOD_TIMELINE_MARK_CYCLES",
    "stall_check_warning_time_seconds": "HOROVOD_STALL_CHECK_TIME_SECONDS",
    "stall_check_shutdown_time_seconds": "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS",
    "gloo_timeout_seconds": "HOROVOD_GLOO_TIMEOUT_SECONDS",
    "log_level": "HOROVOD_LOG_LEVEL",
}
"""Keys of the section and Horovod's variables, as horovodrun sets them for its options."""


def horovod_environment(settings: Horovod) -> dict[str, str]:
    """Environment variables for what `settings` sets; what is null is not among them."""
    environment = {}
    for key, variable in HOROVOD_VARIABLES.items():
        value = getattr(settings, key)
        if value is None:
            continue
        if key == "fusion_threshold_mb":
            value *= _MIB
        environment[variable] = str(int(value)) if isinstance(value, bool) else str(value)
    return environment


def horovod_settings(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What is set in the environment, by the section or by the launcher: for the records."""
    names = HOROVOD_VARIABLES.values()
    return {name: environ[name] for name in sorted(names) if name in environ}
