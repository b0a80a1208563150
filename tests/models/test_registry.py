"""Architectures by name."""

import subprocess
import sys

import pytest

from gan3d.errors import ConfigError
from gan3d.models import architecture_names, check_architecture


def test_the_three_architectures_are_known():
    assert {"ecal25", "ecal25-mkl16", "ecal25-compact"} <= set(architecture_names())


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'ecal25-compact'"):
        check_architecture("ecal25-compakt")


def test_no_architecture_loads_keras_before_it_builds():
    """So that grids, conditions and options can be refused before anything is loaded."""
    code = (
        "import sys; from gan3d.config import Geometry, Model\n"
        "from gan3d.models import Wanted, architecture_names, get_architecture\n"
        "for name in architecture_names():\n"
        "    get_architecture(name, Wanted(Model(architecture=name), Geometry()))\n"
        "sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
