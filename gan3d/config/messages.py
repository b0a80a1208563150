"""What pydantic found wrong, as one line each: where, which key, what was expected, what to do."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gan3d.config.schema import Section
from gan3d.config.tree import Entry, Place

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path (text)",
    "list_type": "a list",
    "tuple_type": "a list",
    "model_type": "a section (keys with values)",
    "model_attributes_type": "a section (keys with values)",
    "literal_error": "one of {expected}",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "too_short": "at least {min_length} value(s)",
    "too_long": "at most {max_length} value(s)",
}


def explain(error: ValidationError, tree: Entry, schema: type[Section]) -> str:
    """One line for each thing that is wrong with `tree`, in the order of the schema."""
    return "\n".join(_line(details, tree, schema) for details in error.errors(include_url=False))


def _line(details: ErrorDetails, tree: Entry, schema: type[Section]) -> str:
    location = details["loc"]
    context = details.get("ctx", {})
    kind = details["type"]
    if kind == "extra_forbidden":
        return told(tree, location, f"unknown key; {_nearest_key(location, schema)}")
    if kind == "missing" and location and isinstance(location[-1], int):
        # A position of a fixed-length list, not a key.
        return told(tree, location[:-1], f"more than {location[-1]} value(s) expected")
    if kind == "missing":
        return told(tree, location, "this key is required")
    if kind == "value_error":
        return _combination(tree, location, str(context["error"]))
    if kind not in _EXPECTED:
        return told(tree, location, details["msg"])
    said = f"expected {_EXPECTED[kind].format(**context)}, got {_shown(details['input'])}"
    if kind == "literal_error":
        choices = [
            choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")
        ]
        near = difflib.get_close_matches(str(details["input"]), choices, n=1)
        said += f"; did you mean '{near[0]}'?" if near else ""
    return told(tree, location, said)


def told(tree: Entry, location: Sequence[str | int], message: str) -> str:
    """The message about the key at `location`, with its place before it."""
    return _about(_place(tree, location), dotted(location), message)


def _about(place: Place, key: str, message: str) -> str:
    """The message about a key after the place that it is written in."""
    # An override names its key already, or one in the section that is meant.
    named = place.line is None and f"{place.name}.".partition(" ")[2].startswith(f"{key}.")
    return f"{place}: {message}" if named or not key else f"{place}: {key}: {message}"


def _combination(tree: Entry, section: Sequence[str | int], message: str) -> str:
    """A validator's message, which starts with the key (relative to its section) that it blames."""
    blamed = message.split(maxsplit=1)[0].rstrip(":").split(".")
    place = _place(tree, [*section, *blamed])
    first, colon, rest = message.partition(": ")
    if place.line is None and colon and " " not in first:
        return _about(place, dotted([*section, *blamed]), rest)
    return _about(place, dotted(section), message)


def _place(tree: Entry, location: Sequence[str | int]) -> Place:
    """Where the key at `location` is written, or else the innermost section around it."""
    entry = tree.nearest(location)
    depth = next(n for n in range(len(location) + 1) if tree.nearest(location[:n]) is entry)
    # A section that is there because an override names another key in it is written nowhere.
    another = entry.place.name.startswith(f"--set {dotted(location[:depth])}.")
    return tree.place if depth < len(location) and another else entry.place


def dotted(location: Sequence[str | int]) -> str:
    """`training.optimizer.name`, `validation.energy_bins_gev[0][1]`."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")


def _shown(value: object) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a section (keys with values)"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def known_keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys below `section`, sections before their keys."""
    for name, field in section.model_fields.items():
        yield prefix + name
        inner = _section_in(field.annotation)
        if inner is not None:
            yield from known_keys(inner, f"{prefix}{name}.")


def is_key(key: str, schema: type[Section]) -> bool:
    """Whether `schema` has the dotted `key`, also in sections under names of their own."""
    section: type[Section] | None = schema
    named = False
    for step in key.split("."):
        if named:  # any name
            named = False
            continue
        if section is None or step not in section.model_fields:
            return False
        annotation = section.model_fields[step].annotation
        section, named = _section_in(annotation), typing.get_origin(annotation) is dict
    return True


def _section_in(annotation: object) -> type[Section] | None:
    """The section that a field of this type holds, also as `Section | None` or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    found = (_section_in(part) for part in typing.get_args(annotation))
    return next((section for section in found if section is not None), None)


def _nearest_key(location: Sequence[str | int], schema: type[Section]) -> str:
    """Siblings first; then the same name in another section; else all siblings."""
    wanted = str(location[-1])
    keys, prefix = list(known_keys(schema)), ""
    for step in location[:-1]:
        # Of sections in a list or under names of their own, all have the same keys.
        if any(key.startswith(f"{prefix}{step}.") for key in keys):
            prefix += f"{step}."
    siblings = [k for k in keys if k.startswith(prefix) and "." not in k[len(prefix) :]]
    beside = {key[len(prefix) :]: key for key in siblings}
    anywhere = {key.rpartition(".")[2]: key for key in reversed(keys)}
    for names, cutoff in ((beside, 0.6), (anywhere, 0.8)):
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=cutoff)
        if near:
            return f"did you mean '{names[near[0]]}'?"
    return f"known here: {', '.join(beside)}"
