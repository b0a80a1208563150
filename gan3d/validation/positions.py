"""Where the cells of a grid are, and what its axes are called.

Of a cylinder the images' first two axes are the angle and the radius. Barycentres, widths, radii
and angles are those in the plane all the same: a cell at radius r and angle a is at
(r cos a, r sin a), r being the middle of its bin, as the Fast Calorimeter Challenge has it (there
these are called eta and phi). So a shower that lies across the end of the turn is as wide as any.
Containment radii are those around the axis.
"""

from __future__ import annotations

import numpy as np

from gan3d.config import Geometry
from gan3d.validation.measures import Float

_CARTESIAN, _CYLINDRICAL = ("x", "y", "layer"), ("angle", "radius", "layer")


def axis_names(geometry: Geometry) -> tuple[str, str, str]:
    """What runs along the axes of an image."""
    return _CYLINDRICAL if geometry.is_cylinder else _CARTESIAN


def axis_title(geometry: Geometry, axis: int) -> str:
    """The same with its unit, for figures."""
    name = axis_names(geometry)[axis]
    if axis == 2:
        return "Layer"
    return f"{name} [{'rad' if name == 'angle' else 'mm'}]"


def axis_edges(geometry: Geometry, axis: int) -> Float:
    """Edges of the cells along an axis of the image, in its unit.

    x and y (mm) are measured from the middle of the image; angles (rad) run from -pi to pi, radii
    (mm) from 0; layers are numbers.
    """
    cells, pitch = geometry.shape[axis], geometry.pitch[axis]
    if axis == 2:
        return np.arange(cells + 1) - 0.5
    from_low = np.arange(cells + 1)
    if geometry.is_cylinder and axis == 1:
        return from_low * pitch
    return (from_low - cells / 2) * pitch


def cell_positions(geometry: Geometry) -> tuple[Float, Float]:
    """Centres of the cells in the plane of a layer, (x, y) each, in mm from the low edges."""
    nx, ny, _ = geometry.shape
    pitch_x, pitch_y, _ = geometry.pitch
    first_x, second_y = (np.arange(nx) + 0.5) * pitch_x, (np.arange(ny) + 0.5) * pitch_y
    if not geometry.is_cylinder:
        grid = np.meshgrid(first_x, second_y, indexing="ij")
        return grid[0], grid[1]
    outer = ny * pitch_y
    angle_x = first_x - np.pi
    return (
        outer + np.cos(angle_x)[:, None] * second_y,
        outer + np.sin(angle_x)[:, None] * second_y,
    )


def middle_mm(geometry: Geometry) -> tuple[float, float]:
    """Where the middle of the image is in the plane of a layer, x and y in mm from its low edge.

    Of a cylinder from the low edges of the square around it, so that its axis is in the middle.
    """
    nx, ny, _ = geometry.shape
    pitch_x, pitch_y, _ = geometry.pitch
    if geometry.is_cylinder:
        return ny * pitch_y, ny * pitch_y
    return 0.5 * nx * pitch_x, 0.5 * ny * pitch_y


def describe_cells(geometry: Geometry) -> str:
    """The grid in words."""
    cells = " × ".join(map(str, geometry.shape))
    first, second, third = geometry.pitch
    along = f"{np.degrees(first):g}°" if geometry.is_cylinder else f"{first:g}"
    return f"{cells} ({', '.join(axis_names(geometry))}) of {along} × {second:g} × {third:g} mm"
