"""Arrays as uncompressed NRRD files for the worker.

Written here and not by a storage node of Slicer: that one writes the node's attributes, and with them DICOM UIDs and
names, into the header, needs a node in the scene, and copies the voxels. A header and the raw bytes are simple, exact,
and as fast as the disk.
"""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SegExplainLib.atomic import atomic_path, require_free_space
from SegExplainLib.contract import InvalidRequest, OutOfDisk

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])
_TYPES = {"float32": "float", "float64": "double"}
_WRITABLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")


def write_nrrd(array: NDArray, ijk_to_ras: NDArray, path: Path) -> None:
    """A file with the voxels and where they lie, whole or not at all. A file that is already whole stays as it is.

    The voxels go to the disk from where they are, without a copy. Nothing but the geometry is in the header.

    Args:
        array: (k, j, i), C-contiguous; integers or floats of 8 to 64 bits.
        ijk_to_ras: (4, 4) index (i, j, k, 1) -> RAS in mm; kept to the last digit.
        path: Ends in ``.nrrd``. It must name the content: what is there under this name is taken to be the same.

    Raises:
        InvalidRequest: the array is of another type, or the folder cannot be written to.
        OutOfDisk: there is no room for the file.
    """
    header = _header(array, ijk_to_ras)
    n_bytes = len(header) + array.nbytes
    if path.is_file() and path.stat().st_size == n_bytes:
        return
    with writing(path, n_bytes=n_bytes) as partial, partial.open("wb") as file:
        file.write(header)
        file.write(array.data.cast("B"))


@contextmanager
def writing(path: Path, *, n_bytes: int) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well.

    Raises:
        InvalidRequest: the folder cannot be written to.
        OutOfDisk: there is no room for ``n_bytes``.
    """
    try:
        require_free_space(path.parent, n_bytes)
        with atomic_path(path) as partial:
            yield partial
    except OutOfDisk as error:
        error.hint = _("Free some space on that disk and try again.")
        raise
    except OSError as error:
        raise InvalidRequest(
            _("The file {path} cannot be written ({reason}).").format(path=path, reason=error.strerror or error),
            _("Check that the folder is there and may be written to."),
        ) from error


def content_name(kind: str, *parts: bytes | NDArray) -> str:
    """A file name that changes with the content and tells nothing of the patient."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, bytes):
            digest.update(part)
        else:
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
    return f"{kind}-{digest.hexdigest()}.nrrd"


def _header(array: NDArray, ijk_to_ras: NDArray) -> bytes:
    if array.dtype.name not in _WRITABLE:
        raise InvalidRequest(
            _("The voxels are of the type {type}; expected whole or real numbers.").format(type=array.dtype),
            _("Cast the volume to short or float (module Cast Scalar Volume)."),
        )
    axes_lps = (LPS_FROM_RAS @ ijk_to_ras[:3, :3]).T
    origin_lps = LPS_FROM_RAS @ ijk_to_ras[:3, 3]
    lines = [
        "NRRD0004",
        f"type: {_TYPES.get(array.dtype.name, array.dtype.name)}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: {} {} {}".format(*array.shape[::-1]),
        f"space directions: {' '.join(_vector(axis) for axis in axes_lps)}",
        "kinds: domain domain domain",
        f"endian: {sys.byteorder}",
        "encoding: raw",
        f"space origin: {_vector(origin_lps)}",
    ]
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _vector(numbers: NDArray) -> str:
    # repr keeps every digit; adding zero turns -0.0 into 0.0.
    return "({})".format(",".join(repr(float(number) + 0.0) for number in numbers))
