"""Values for shell scripts: what a template prints is quoted, unless it is shell by its type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from gan3d.errors import UsageError


class Shell(str):
    """A piece of shell source: printed as it is."""

    __slots__ = ()


def quoted(value: object) -> Shell:
    """`value` as one word of the shell, whatever is in it; Shell stays as it is.

    Raises UsageError for control characters: a new line would also end a comment or a directive.
    """
    if isinstance(value, Shell):
        return value
    text = str(value)
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise UsageError(f"{text!r}: control characters cannot stand in a job's script")
    return Shell(shlex.quote(text))


def words(values: Iterable[object]) -> Shell:
    """`values` as words of one command."""
    return Shell(" ".join(quoted(value) for value in values))


def folder(path: str) -> Shell:
    """`path` as one word; a variable at its beginning is the job's own, and must be set there."""
    found = re.fullmatch(r"\$([A-Za-z_][A-Za-z0-9_]*)(.*)", path)
    if not found:
        return quoted(path)
    variable, rest = found.groups()
    # Not quoted() on an empty rest: it would add ''.
    return Shell(f'"${{{variable}:?is not set here}}"{quoted(rest) if rest else ""}')


def pattern(path: str) -> Shell:
    """`path` with its *, ? and [...] left to the shell and all else quoted."""
    pieces = re.split(r"([*?]|\[[^\]]*\])", path)
    wild, plain = pieces[1::2], pieces[0::2]
    if any(re.search(r"[^\[\]!A-Za-z0-9_.^-]", piece) for piece in wild if len(piece) > 1):
        raise UsageError(f"{path}: only letters and digits can stand in brackets in a job")
    out = [quoted(plain[0]) if plain[0] else ""]
    for special, text in zip(wild, plain[1:], strict=True):
        out += [special, quoted(text) if text else ""]
    return Shell("".join(out))
