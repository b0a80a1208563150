"""The grid that files state: read back, and held against the one that networks are made for."""

import h5py
import numpy as np
import pytest

from gan3d.config import Data, Geometry
from gan3d.data import (
    Showers,
    geometry_attributes,
    stated_geometry,
    survey_files,
    write_showers,
)
from gan3d.errors import DataError

SHAPE = (3, 4, 5)
FLAT = Geometry(shape=SHAPE, cell_size_mm=(5.1, 5.1, 10.0))
ROUND = Geometry(coordinates="cylindrical", shape=SHAPE, cell_size_mm=(None, 4.65, 3.4))


@pytest.fixture
def write(tmp_path, images):
    """Write a file that states a grid: write(FLAT, "parquet")."""

    def write(stated, layout="lcd"):
        showers = Showers(images(6), np.arange(1, 7, dtype=np.float32))
        size_mm = None if stated.is_cylinder else stated.cell_size_mm
        path = tmp_path / f"a.{layout}"
        write_showers(
            path,
            [showers],
            layout=layout,
            attributes=geometry_attributes(stated),
            cell_size_mm=size_mm,
        )
        return path

    return write


def look(path, geometry, labels=(), **changes):
    return survey_files(Data(files=[str(path)], geometry=geometry, **changes), labels)


@pytest.mark.parametrize("layout", ["lcd", "parquet"])
@pytest.mark.parametrize(
    ("stated", "assumed", "message"),
    [
        (ROUND, FLAT, r"cells of a cylinder, but those along \(x, y, layer\) are reckoned with"),
        (FLAT, ROUND, r"cells along \(x, y, layer\), but those of a cylinder are reckoned with"),
        (
            FLAT,
            Geometry(shape=SHAPE),
            "cells of 5.1 x 5.1 x 10 mm, but 5.1 x 5.1 x 5.1 mm are reckoned with",
        ),
        (
            ROUND,
            Geometry(coordinates="cylindrical", shape=SHAPE, cell_size_mm=(None, 4.65, 5.0)),
            "cells of 4.65 mm in radius and 3.4 mm in depth, but 4.65 mm in .* reckoned with",
        ),
    ],
)
def test_networks_are_not_made_for_other_cells_than_files_state(
    write, layout, stated, assumed, message
):
    path = write(stated, layout)
    assert len(look(path, stated).files) == 1
    assert len(look(path, stated, grid=(3, 4, 4)).files) == 1
    with pytest.raises(DataError, match=rf"a\.{layout}: {message}"):
        look(path, assumed)
    # For something else than networks their size is nothing.
    assert len(look(path, assumed, labels=None).files) == 1


def test_cells_of_further_images_are_looked_at_too(tmp_path, images):
    cells = np.concatenate([images(6).reshape(6, -1), images(6, (2, 2, 2)).reshape(6, -1)], axis=1)
    showers = Showers(cells[..., None, None], np.arange(1, 7, dtype=np.float32))
    hcal = Geometry(shape=(2, 2, 2), cell_size_mm=(30.0, 30.0, 30.0))
    path, grids = tmp_path / "a.h5", {"ECAL": FLAT, "HCAL": hcal}
    write_showers(path, [showers], attributes={}, geometries=grids)
    assert len(look(path, FLAT, further_images={"HCAL": hcal}).files) == 1
    other = hcal.model_copy(update={"cell_size_mm": (30.0, 30.0, 20.0)})
    expected = r"a\.h5: cells of 30 x 30 x 30 mm, .* or data\.further_images\.HCAL\.cell_size_mm"
    with pytest.raises(DataError, match=expected):
        look(path, FLAT, further_images={"HCAL": other})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{", r"showers\.h5: its attribute 'geometry' is no grid of cells"),
        (
            '{"coordinates": "cylindrical", "shape": [4, 4, 5], "cell_size_mm": [null, 1, 1]}',
            r"showers\.h5: images have 3×4×5 cells, its attribute 'geometry' says 4×4×5",
        ),
    ],
)
def test_a_file_that_says_its_cells_wrongly_is_named(lcd_file, said, message):
    path = lcd_file()
    assert stated_geometry([path]) is None
    with h5py.File(path, "r+") as file:
        file.attrs["geometry"] = said
    with pytest.raises(DataError, match=message):
        stated_geometry([path])
