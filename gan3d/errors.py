"""The errors that a user is meant to read: one line saying what, where and what to do."""

from __future__ import annotations

from typing import ClassVar


class Gan3dError(Exception):
    """The work failed. The command prints the message as one line and exits with `exit_code`."""

    exit_code: ClassVar[int] = 1


class UsageError(Gan3dError):
    """The call or its arguments are wrong (exit code 2)."""

    exit_code: ClassVar[int] = 2


class ConfigError(UsageError):
    """The experiment file, or a `--set` override, is wrong (exit code 2)."""


class DataError(Gan3dError):
    """Showers cannot be read, or what was read is not what was expected."""


class NodeError(Gan3dError):
    """Something this machine lacks is needed for the work that was asked for."""


class TrainingError(Gan3dError):
    """Training cannot go on."""


class DivergedError(TrainingError):
    """The losses are not finite, or the showers stay empty: the settings' fault."""


class RankLostError(TrainingError):
    """Another rank has ended; its own message says why."""


class RunError(Gan3dError):
    """A run's folder does not hold what is needed (no checkpoint, damaged files)."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended training, between two steps, with a checkpoint written."""


class Preempted(KeyboardInterrupt):
    """A batch system's signal ended training, between two steps, with a checkpoint written."""

    exit_code: ClassVar[int] = 75
    """EX_TEMPFAIL of sysexits.h, "try again later": start the run again with --resume."""
