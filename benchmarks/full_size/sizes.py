"""How large the network, the CT and the region are: full size, and one that a CPU can serve."""

from dataclasses import dataclass

CT_TO_NETWORK = 4 / 3
"""Voxels of the network along what is one voxel of the CT: boxes of 3 voxels of the CT are 4 of the network's."""


@dataclass(frozen=True)
class Size:
    """One size of everything; lengths in voxels are the network's.

    Attributes:
        name: For people.
        features: Of each stage of the U-Net, which halves the resolution once a stage.
        tile: Edge of a tile.
        ct_mm: Voxel edge of the CT; the network's is three quarters of it.
        height: Length of the volume along the body, a whole number of half tiles: then a volume of twice the height has
            the same tiles, and more.
        roi_start_kji: First voxel of the region, multiples of 4.
        roi_edge: Of the region, a multiple of 4.
        unit_mm: Lattice edge of the units that organs are cut into.
    """

    name: str
    features: tuple[int, ...]
    tile: int
    ct_mm: float
    height: int
    roi_start_kji: tuple[int, int, int]
    roi_edge: int
    unit_mm: float

    @property
    def network_mm(self) -> float:
        """Voxel edge of the network's grid."""
        return self.ct_mm / CT_TO_NETWORK

    def on_ct(self, n_voxels: float) -> int:
        """Voxels of the CT that are as long as ``n_voxels`` of the network."""
        return round(n_voxels / CT_TO_NETWORK)

    @property
    def roi(self) -> str:
        """The region, as a request has it."""
        starts = [self.on_ct(start) for start in self.roi_start_kji[::-1]]
        return "ijk:" + ",".join(f"{start},{start + self.on_ct(self.roi_edge)}" for start in starts)


FULL = Size(
    name="full size",
    features=(32, 64, 128, 256, 320, 320),
    tile=128,
    ct_mm=2.0,
    height=320,
    roi_start_kji=(164, 60, 80),
    roi_edge=32,
    unit_mm=110.0,
)
REDUCED = Size(
    name="REDUCED SIZE",
    features=(8, 16, 32, 64, 80),
    tile=48,
    ct_mm=4.0,
    height=144,
    roi_start_kji=(80, 32, 40),
    roi_edge=16,
    unit_mm=80.0,
)
