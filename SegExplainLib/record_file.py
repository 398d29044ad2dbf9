"""What an interrupted run keeps, in one file: arrays under a header, and what the question was that they belong to."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SegExplainLib.atomic import atomic_path
from SegExplainLib.contract import InvalidRequest


def write_record(path: Path, header: Mapping[str, Any], parts: Mapping[str, NDArray]) -> None:
    """Writes a header (JSON-able) and arrays by name; a reader never sees half of it.

    Raises:
        OutOfDisk: the disk is full.
    """
    arrays = {"header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8), **parts}
    # As numpy.savez_compressed, but at the fastest level: who cancels a run waits for this.
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
    ):
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


@contextmanager
def read_record(path: Path, *, version: int, holds: str) -> Iterator[tuple[dict[str, Any], dict[str, NDArray]]]:
    """The header and the arrays of a file, for a block that makes something of them.

    Args:
        path: Of the file.
        version: What the header's ``record_version`` must be.
        holds: What is stored there, for people.

    Raises:
        InvalidRequest: the file is missing, damaged, or of another version; or the block misses a part.
    """
    hint = "Run the explanation again."
    try:
        with np.load(path, allow_pickle=False) as file:
            parts = {name: file[name] for name in file.files}
        header = json.loads(parts.pop("header").tobytes())
        if header["record_version"] != version:
            raise InvalidRequest(f"{path} is of record version {header['record_version']}, not {version}.", hint)
        yield header, parts
    except FileNotFoundError as error:
        raise InvalidRequest(f"There are no stored {holds} at {path}.", hint) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidRequest(f"{path} cannot be read ({error}).", hint) from error


def require_same_question(now: Mapping[str, str], earlier: Mapping[str, str], *, holds: str) -> None:
    """Holds the fingerprints of a question against those of the one that was stored.

    Raises:
        InvalidRequest: the earlier run asked something else; says what differs.
    """
    differing = [part for part, digest in now.items() if earlier.get(part) != digest]
    if differing:
        raise InvalidRequest(
            f"The stored {holds} belong to another question: {', '.join(differing)} differ(s).",
            "Give the same options as before, or another --out folder.",
        )


def fingerprints_of(parts: Mapping[str, NDArray | str]) -> dict[str, str]:
    """sha256 of each part's bytes (and of an array's shape)."""
    digests = {}
    for name, part in parts.items():
        digest = hashlib.sha256()
        if isinstance(part, str):
            digest.update(part.encode())
        else:
            digest.update(repr((part.shape, part.dtype.str)).encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        digests[name] = digest.hexdigest()
    return digests
