"""Imports go one way: cli -> work -> models and data -> runtime -> config."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gan3d

PACKAGE = Path(gan3d.__file__).parent

WORK = {"training", "generation", "export", "validation", "tuning", "bench"}
ROOMS = WORK | {"cli", "config", "runtime", "data", "simulation", "models", "samples", "jobs"}
ALLOWED = {
    # `gan3d/__init__.py`: the functions for notebooks.
    "__init__": {"generation"},
    "__main__": {"cli"},
    "errors": set(),
    "config": set(),
    "samples": set(),
    "runtime": {"config"},
    "data": {"config"},
    "simulation": {"config", "data"},
    "models": {"config"},
    "jobs": {"config"},
    "training": {"config", "runtime", "data", "models"},
    "generation": {"config", "data", "models"},
    "export": {"config", "data", "models", "generation"},
    "validation": {"config", "data"},
    "tuning": {"config", "runtime", "data", "models", "training", "validation"},
    "bench": ROOMS - {"cli"},
    "cli": ROOMS,
}
EVERYBODY_MAY = {"errors"}
"""A leaf; `from gan3d import __version__` counts as no room either."""

FORBIDDEN_LIBRARIES = {
    "models": {"tensorflow"},
    "validation": {"tensorflow", "keras"},
    "data": {"tensorflow", "keras"},
    "simulation": {"tensorflow", "keras"},
    "config": {"tensorflow", "keras"},
    "jobs": {"tensorflow", "keras"},
    "cli": {"tensorflow", "keras"},
    "samples": {"tensorflow", "keras"},
    "tuning": {"tensorflow", "keras"},
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(tree):
    """(dotted name, line) of every import, also inside functions and `if TYPE_CHECKING`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import on line {node.lineno}"
            if node.module == "gan3d":
                yield from ((f"gan3d.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


def room_of(path):
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def violations(room, source):
    """What a module of `room` imports and must not, as (dotted name, line)."""
    for name, line in imports(ast.parse(source)):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        # `from gan3d import __version__` reaches into no room.
        elsewhere = top == "gan3d" and target in ROOMS - {room}
        if (
            (elsewhere and target not in ALLOWED[room] | EVERYBODY_MAY)
            or (top == "horovod" and room != "runtime")
            or top in FORBIDDEN_LIBRARIES.get(room, set())
        ):
            yield name, line


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_room_may(path):
    assert list(violations(room_of(path), path.read_text())) == []


def test_every_folder_is_a_room():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders <= ROOMS


def test_only_the_room_of_the_ranks_imports_horovod():
    importing = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        for name, _ in imports(ast.parse(path.read_text()))
        if name.partition(".")[0] == "horovod"
    }
    assert importing == {"runtime/distributed.py", "runtime/elastic.py"}


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("config", "from gan3d.data import Showers"),
        ("config", "from gan3d import runtime"),
        ("runtime", "import gan3d.data.formats"),
        ("models", "def f():\n    import tensorflow as tf"),
        ("validation", "if TYPE_CHECKING:\n    from keras import Model"),
        ("data", "from gan3d.models.registry import get"),
        ("training", "from gan3d.generation import load_run"),
        ("training", "import horovod.tensorflow as hvd"),
        ("jobs", "from gan3d.runtime import apply_node"),
        ("generation", "from gan3d.cli.console import make_console"),
        ("generation", "from gan3d.export import load_exported"),
        ("export", "from gan3d.validation import judge"),
        ("tuning", "from gan3d.cli.train import train"),
    ],
)
def test_a_wrong_arrow_is_seen(room, source):
    assert len(list(violations(room, source))) == 1


@pytest.mark.parametrize(
    "module", ["gan3d", "gan3d.cli", "gan3d.runtime", "gan3d.validation", "gan3d.export"]
)
def test_importing_does_not_load_tensorflow(module):
    code = (
        f"import sys, {module}\n"
        "print([name for name in ('tensorflow', 'keras', 'horovod') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        "quickstart",
        "train",
        "tune",
        "generate",
        "validate",
        "export",
        "data",
        "simulate",
        "jobs",
        "bench",
        "doctor",
    ],
)
def test_help_loads_no_tensorflow_and_has_an_example(command):
    code = (
        "import sys\nfrom gan3d.cli import main\n"
        f"assert main([{command!r}, '--help']) == 0\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"  gan3d {command}" in done.stdout
