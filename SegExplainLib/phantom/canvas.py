"""The CT and its labels while the anatomy is painted onto them, one solid over the other."""

import numpy as np

from SegExplainLib.phantom.shapes import Field, Points

AIR_HU = -1000.0
FAT_HU = -100.0


class Canvas:
    """HU and labels of a torso in the making, both (k, j, i), starting as air.

    What is painted later covers what was painted before, so labels never overlap. At a solid's edge the HU are mixed
    over one voxel, as a scanner's partial volume does, while the label is decided at the voxel's centre.
    """

    def __init__(self, points: Points, *, edge_mm: float) -> None:
        """Empty canvas on ``points``; ``edge_mm`` is the voxel edge in body coordinates."""
        self.points = points
        self.edge_mm = edge_mm
        self.hu = np.full(points.x.shape, AIR_HU, np.float32)
        self.label = np.zeros(points.x.shape, np.uint8)

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        """Number of voxels along k, j, i."""
        return self.points.shape_kji

    def paint(self, distance: Field, hu: float | Field, *, label: int = 0, halo_mm: float = 0.0) -> None:
        """Cover the solid of negative ``distance`` with ``hu`` and ``label``, inside a rim of fat ``halo_mm`` thick."""
        if halo_mm > 0:
            self.paint(distance - halo_mm, FAT_HU)
        self.tint(distance, hu)
        self.label[distance < 0] = label

    def tint(self, distance: Field, hu: float | Field) -> None:
        """Like ``paint``, but the labels stay: the inside of an organ, such as a heart chamber or a gas bubble."""
        touched = np.flatnonzero(distance.min(axis=(1, 2)) < 0.5 * self.edge_mm)
        if len(touched) == 0:
            return
        slab = slice(int(touched[0]), int(touched[-1]) + 1)
        covered = np.clip(0.5 - distance[slab] / self.edge_mm, 0.0, 1.0)
        self.hu[slab] += covered * ((hu[slab] if isinstance(hu, np.ndarray) else hu) - self.hu[slab])
