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
    """Training cannot go on: the losses are not finite, or the showers have become empty."""


class RunError(Gan3dError):
    """A run's folder does not hold what is needed (no checkpoint, damaged files)."""
