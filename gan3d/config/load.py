"""An experiment from its YAML file, the files that it extends, and `--set` overrides."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from pydantic import ValidationError

from gan3d.config.messages import explain, is_key, told
from gan3d.config.schema import Experiment, Section
from gan3d.config.tree import Entry, Place, dump_yaml, merge, parse_yaml
from gan3d.errors import ConfigError

FILES = (("data", "files"), ("data", "validation_files"), ("training", "init_from"))
"""Keys whose texts are paths, made absolute relative to the file that names them."""

NODE_KEYS = ("node", "horovod", "data.workers", "data.reader_niceness")
"""What a node file may hold: what a machine is, and no experiment."""

_EXAMPLE = "training.epochs=5"
"""A good override of an experiment."""

SectionT = TypeVar("SectionT", bound=Section)


def load_experiment(
    path: Path, overrides: Sequence[str] = (), node: Path | None = None
) -> Experiment:
    """The experiment that `path` describes, on the machine that `node` describes, if it is given.

    `extends: other.yaml` (or a list) in a file lays that file upon those it names, relative to its
    own folder; of several, later ones win. Maps merge, lists and scalars replace. Each of
    `overrides` is `a.b=value`, value in YAML, and wins over all files.

    Raises:
        ConfigError: one line for each mistake, with file, line and key.

    """
    return load_sections(
        Experiment,
        Path(path),
        overrides,
        example=_EXAMPLE,
        upon=() if node is None else (node,),
        files=FILES,
    )


@contextmanager
def naming_places(
    path: Path, overrides: Sequence[str] = (), node: Path | None = None
) -> Iterator[None]:
    """Let a ConfigError from inside say where the key is written that its message begins with.

    For what is found wrong after `load_experiment` of the same arguments, in other rooms, which
    know keys and no files.
    """
    try:
        yield
    except ConfigError as error:
        key, colon, message = str(error).partition(": ")
        if not colon or not is_key(key, Experiment):
            raise
        tree = _read_all(Path(path), overrides, _EXAMPLE, () if node is None else (node,), {})
        raise ConfigError(told(tree, key.split("."), message)) from error


def load_sections(
    schema: type[SectionT],
    path: Path | None,
    overrides: Sequence[str] = (),
    *,
    example: str,
    upon: Sequence[Path] = (),
    options: Mapping[str, str] = MappingProxyType({}),
    files: Sequence[Sequence[str]] = (),
) -> SectionT:
    """What `path` describes in terms of `schema`, with `extends` and overrides; None: no file.

    `example` is a good override, for messages. `upon` are node files that are laid upon `path`.
    `options` are overrides by other options of the command, by their names (`--energy`); they win
    over all. `files` are the keys whose texts are paths. Raises ConfigError as
    `load_experiment` does.
    """
    tree = _read_all(path, overrides, example, upon, options)
    for location in files:
        tree = _with_absolute_paths(tree, location)
    try:
        # JSON's strict mode takes a list for a tuple and a text for a path, but never a text or a
        # truth value for a number.
        return schema.model_validate_json(json.dumps(tree.plain()), strict=True)
    except ValidationError as error:
        raise ConfigError(explain(error, tree, schema)) from None


def telling(
    path: Path, overrides: Sequence[str] = (), *, example: str
) -> Callable[[Sequence[str | int], str], str]:
    """What puts before a message about the key at a location where that key is written.

    For what is found wrong after `load_sections` of the same arguments.
    """
    tree = _read_all(path, overrides, example, (), {})
    return lambda location, message: told(tree, location, message)


def _read_all(
    path: Path | None,
    overrides: Sequence[str],
    example: str,
    upon: Sequence[Path],
    options: Mapping[str, str],
) -> Entry:
    """What `load_sections` is told by files and overrides, merged."""
    tree = Entry({}, Place(name="defaults", line=None, folder=Path()))
    if path is not None:
        tree = _read(path, named_by=None, above=())
    for other in upon:
        layer = _read(other, named_by=None, above=())
        _check_node_file(layer)
        tree = merge(tree, layer)
    for override in overrides:
        tree = merge(tree, _parse_override(override, example))
    for option, override in options.items():
        tree = merge(tree, _parse_override(override, example, option))
    return tree


def _check_node_file(tree: Entry) -> None:
    """Raise ConfigError where a node file is empty, or says what is not a machine's."""
    sections = tree.value if isinstance(tree.value, dict) else {}
    may = f"a node file holds {', '.join(NODE_KEYS)}"
    if not sections:
        raise ConfigError(f"{tree.place}: is empty; {may}")
    for section, entry in sections.items():
        if section in NODE_KEYS:
            continue
        inner = entry.value if isinstance(entry.value, dict) else {}
        keys = {f"{section}.{key}": each for key, each in inner.items()} or {section: entry}
        for key, each in keys.items():
            if key not in NODE_KEYS:
                raise ConfigError(
                    f"{each.place}: {key} is not a machine's: {may}; it belongs to the experiment"
                )


def top_keys(path: Path) -> list[str]:
    """The keys that the file has on top, or one that it extends: they tell what it describes.

    Raises ConfigError as `load_experiment` does.
    """
    tree = _read(Path(path), named_by=None, above=()).value
    return list(tree) if isinstance(tree, dict) else []


def dump_experiment(experiment: Experiment) -> str:
    """YAML of every key in the order of the schema; loads back to an equal experiment."""
    return dump_yaml(experiment.model_dump(mode="json"))


def _read(path: Path, named_by: Place | None, above: tuple[Path, ...]) -> Entry:
    """The tree of one file, merged upon the files that it extends."""
    where = f"{named_by}: extends: " if named_by else ""
    resolved = path.resolve()
    if resolved in above:
        raise ConfigError(f"{where}{path} extends itself, by way of the files that it names")
    start = Place(name=os.path.normpath(path), line=1, folder=path.parent)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{where}{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}{path}: not a YAML file (not UTF-8 text)") from error
    except OSError as error:
        raise ConfigError(f"{where}{path}: cannot be read: {error.strerror}") from error
    entry = parse_yaml(text, start)
    if entry.value is None:
        entry = replace(entry, value={})
    if not isinstance(entry.value, dict):
        raise ConfigError(f"{entry.place}: expected sections (keys with values), found no keys")
    own = dict(entry.value)
    base = Entry({}, start)
    for name in _extended(own.pop("extends", None)):
        folder = name.place.folder
        base = merge(base, _read(folder / str(name.value), name.place, (*above, resolved)))
    return merge(base, Entry(own, start))


def _extended(entry: Entry | None) -> list[Entry]:
    if entry is None:
        return []
    names = entry.value if isinstance(entry.value, list) else [entry]
    for name in names:
        if not isinstance(name.value, str):
            raise ConfigError(f"{name.place}: extends: expected a file name or a list of them")
    return names


def _parse_override(override: str, example: str, option: str | None = None) -> Entry:
    key, equals, text = override.partition("=")
    key = key.strip()
    place = Place(name=option or f"--set {key}", line=None, folder=Path())
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {override}: expected KEY=VALUE, such as {example}")
    entry = parse_yaml(text, place)
    for step in reversed(key.split(".")):
        entry = Entry({step: entry}, place)
    return entry


def _with_absolute_paths(tree: Entry, location: Sequence[str]) -> Entry:
    """`tree`, with the text or the list of texts at `location` as absolute paths."""
    entry = tree.nearest(location)
    if tree.nearest(location[:-1]) is entry or not isinstance(entry.value, str | list):
        return tree
    layer = (
        replace(entry, value=[_absolute(item) for item in entry.value])
        if isinstance(entry.value, list)
        else _absolute(entry)
    )
    for step in reversed(location):
        layer = Entry({step: layer}, entry.place)
    # Upon a tree whose own place stays.
    return replace(merge(tree, layer), place=tree.place)


def _absolute(entry: Entry) -> Entry:
    if not isinstance(entry.value, str):
        return entry
    path = entry.place.folder.absolute() / Path(entry.value)
    return replace(entry, value=os.path.normpath(path))
