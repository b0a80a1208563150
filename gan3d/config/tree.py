"""YAML in which every value remembers the file and line that it was written on.

Scalars follow the core schema of YAML 1.2, not PyYAML's YAML 1.1: `1e-6` is a number, `no`, `on`
and `2026-11-21` are texts, `12:30` is not 750.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gan3d.errors import ConfigError

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Place:
    """Where a key or list item was written.

    `name` is a file, or the override's own spelling (`--set a.b`), which has no line. Paths written
    there are relative to `folder`.
    """

    name: str
    line: int | None
    folder: Path

    def __str__(self) -> str:
        return self.name if self.line is None else f"{self.name}:{self.line}"


@dataclass(frozen=True)
class Entry:
    """A value and its place: of its key in a map, of the item itself in a list."""

    value: dict[str, Entry] | list[Entry] | Scalar
    place: Place

    def plain(self) -> Any:
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: entry.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [entry.plain() for entry in self.value]
        return self.value

    def nearest(self, location: Sequence[str | int]) -> Entry:
        """The entry at `location`, or the innermost one on the way there that was written."""
        entry = self
        for step in location:
            inner = entry._inside().get(step)
            if inner is None:
                break
            entry = inner
        return entry

    def _inside(self) -> dict[str | int, Entry]:
        if isinstance(self.value, dict):
            return dict(self.value.items())
        return dict(enumerate(self.value)) if isinstance(self.value, list) else {}


def merge(base: Entry, over: Entry) -> Entry:
    """`over` laid upon `base`: maps merge key by key, lists and scalars replace.

    A section stays where a file has it, whichever of its keys an override names.
    """
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    merged = dict(base.value)
    for key, entry in over.value.items():
        merged[key] = merge(merged[key], entry) if key in merged else entry
    written = over.place.line is not None or base.place.line is None
    return Entry(merged, over.place if written else base.place)


_CORE_SCHEMA = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def ignore_aliases(self, data: object) -> bool:
        return True


for _tag, (_pattern, _first) in _CORE_SCHEMA.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first
        )


def dump_yaml(plain: Any) -> str:
    """YAML text of maps, lists and scalars, in their order, that `parse_yaml` reads back."""
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_yaml(text: str, place: Place) -> Entry:
    """The tree of one YAML document; `place.line` None gives every entry `place` itself.

    Raises:
        ConfigError: the text is not YAML, a key is written twice, or a tag is not a plain one.

    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = _at(place, mark.line + 1 if mark else None)
        problem = " ".join(filter(None, (error.context, error.problem)))
        hint = "; quote a text that starts with '*'" if "alias" in problem else ""
        raise ConfigError(f"{where}: not valid YAML: {problem}{hint}") from error
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{_at(place, None)}: not valid YAML: {reason}") from error
    if node is None:
        return Entry(None, _at(place, 1))
    return _Builder(place).entry(node, node, ())


def _at(place: Place, line: int | None) -> Place:
    return place if place.line is None else Place(place.name, line, place.folder)


class _Builder:
    """Turns composed nodes into entries."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def entry(self, node: yaml.Node, at: yaml.Node, parents: tuple[yaml.Node, ...]) -> Entry:
        place = _at(self.place, at.start_mark.line + 1)
        if any(node is parent for parent in parents):
            raise ConfigError(f"{place}: this alias stands for a value that contains it")
        parents = (*parents, node)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return Entry(self._mapping(node, parents), place)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return Entry([self.entry(item, item, parents) for item in node.value], place)
        if isinstance(node, yaml.ScalarNode):
            return Entry(_scalar(node, place), place)
        raise ConfigError(f"{place}: the YAML tag {node.tag} has no meaning here")

    def _mapping(self, node: yaml.MappingNode, parents: tuple[yaml.Node, ...]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for key, value in node.value:
            place = _at(self.place, key.start_mark.line + 1)
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{place}: a key must be a single word")
            if key.value == "<<":
                raise ConfigError(f"{place}: '<<' is not supported; name a file under 'extends'")
            if key.value in entries:
                first = entries[key.value].place
                raise ConfigError(
                    f"{place}: {key.value}: this key is here twice (first on line {first.line})"
                )
            entries[key.value] = self.entry(value, key, parents)
        return entries


def _scalar(node: yaml.ScalarNode, place: Place) -> Scalar:
    text: str = node.value
    kind = node.tag.removeprefix("tag:yaml.org,2002:")
    try:
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            return int(text, 0 if text.startswith(("0o", "0x")) else 10)
        if kind == "float":
            return _number(text)
    except ValueError as error:
        raise ConfigError(f"{place}: {text!r} is not of YAML type {kind}") from error
    raise ConfigError(f"{place}: the YAML tag {node.tag} has no meaning here")


def _number(text: str) -> int | float:
    word = text.lower().lstrip("+-")
    if word in (".inf", ".nan"):
        return math.copysign(float(word[1:]), -1.0 if text.startswith("-") else 1.0)
    number = float(text)
    # 1e3 is a fine way of writing a count; fields that want a fraction take whole numbers too.
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
