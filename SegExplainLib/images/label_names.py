"""What the numbers of a label map mean, as told by the file itself or by a list beside it."""

import csv
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from SegExplainLib.contract import InvalidRequest

LIST_SUFFIXES = (".json", ".csv", ".tsv", ".ctbl", ".txt")
_LABEL_HEADINGS = ("label", "labelvalue", "label_value", "id", "index", "value")
_NAME_HEADINGS = ("name", "label_name", "labelname", "structure", "organ", "class", "segment")
_EXAMPLE = 'Expected {"1": "liver"} or {"liver": 1} as .json, or lines "1,liver" as .csv.'


def lists_beside(image_path: Path) -> list[Path]:
    """Files beside an image that may name its labels, the likeliest first: ``<stem>.json`` before ``labels.json``."""
    stem = image_path.name
    for suffix in (".gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".seg"):
        stem = stem[: -len(suffix)] if stem.lower().endswith(suffix) else stem
    names = [f"{stem}{suffix}" for suffix in (".json", ".csv", ".ctbl")] + ["labels.json", "labels.csv", "dataset.json"]
    paths = [image_path.with_name(name) for name in dict.fromkeys(names)]
    return [path for path in paths if path.is_file()]


def read_label_names(path: Path) -> dict[int, str]:
    """Label -> name, without the background 0, from a list in a file.

    ``.json``: {"1": "liver"}, {"liver": 1}, or an nnU-Net ``dataset.json``. ``.csv``, ``.tsv``: label and name in the
    first two columns, or in those that a heading calls so. ``.ctbl``, ``.txt``: a colour table of Slicer.

    Raises:
        InvalidRequest: the file is missing, unreadable, of another form, or names one label twice.
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in LIST_SUFFIXES:
        raise InvalidRequest(f"{path} is no list of label names.", _EXAMPLE)
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = _from_json(path, json.loads(text)) if suffix == ".json" else _from_table(path, text)
    except FileNotFoundError as error:
        raise InvalidRequest(f"There is no file {path}.", "Check the path.") from error
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{path} cannot be read ({error}).", _EXAMPLE) from error
    if not names:
        raise InvalidRequest(f"{path} names no label.", _EXAMPLE)
    return names


def _from_json(path: Path, given: Any) -> dict[int, str]:
    if isinstance(given, Mapping) and isinstance(given.get("labels"), Mapping):
        given = given["labels"]
    if not isinstance(given, Mapping):
        raise InvalidRequest(f"{path} holds no table of label names.", _EXAMPLE)
    if any(isinstance(value, list) for value in given.values()):
        raise InvalidRequest(
            f"{path} describes overlapping regions (a name with several labels).", "Give one name for each label."
        )
    is_by_label = all(_is_label(key) for key in given)
    if not is_by_label and not all(_is_label(value) for value in given.values()):
        raise InvalidRequest(f"{path} holds neither label: name nor name: label throughout.", _EXAMPLE)
    pairs = given.items() if is_by_label else [(value, key) for key, value in given.items()]
    return _unique(path, [(int(label), str(name)) for label, name in pairs])


def _is_label(value: Any) -> bool:
    return not isinstance(value, bool) and str(value).strip().isdecimal()


def _from_table(path: Path, text: str) -> dict[int, str]:
    """Rows with a label and its name; empty lines and those that begin with ``#`` are passed over."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    delimiter = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower(), " ")
    rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
    label_column, name_column = 0, 1
    if rows and not _is_label(rows[0][0]):
        heading = [cell.strip().casefold() for cell in rows.pop(0)]
        label_column = next((n for n, cell in enumerate(heading) if cell in _LABEL_HEADINGS), 0)
        name_column = next((n for n, cell in enumerate(heading) if cell in _NAME_HEADINGS), 1)
    for row in rows:
        if len(row) <= max(label_column, name_column) or not _is_label(row[label_column]):
            raise InvalidRequest(f"{path} has the line {' '.join(row)!r}; expected a label and a name.", _EXAMPLE)
    return _unique(path, [(int(row[label_column]), row[name_column]) for row in rows])


def _unique(path: Path, pairs: list[tuple[int, str]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for label, name in pairs:
        if label in names and names[label] != name.strip():
            raise InvalidRequest(f"{path} gives label {label} two names: {names[label]}, {name}.", "Keep one of them.")
        if label and name.strip():
            names[label] = name.strip()
    return names


def names_in_nifti_texts(tags: Mapping[str, str]) -> dict[int, str]:
    """Label -> name from a Caret label table in a NIfTI's header extensions, as TotalSegmentator writes; or empty."""
    for text in tags.values():
        if "<LabelTable" in text:
            try:
                table = ElementTree.fromstring(text.strip())
            except ElementTree.ParseError:
                continue
            entries = [(entry.get("Key", ""), (entry.text or "").strip()) for entry in table.iter("Label")]
            return {int(label): name for label, name in entries if _is_label(label) and int(label) and name}
    return {}


def segments_in(tags: Mapping[str, str]) -> list[tuple[str, int, int]]:
    """(name, label, layer) of each segment in a ``.seg.nrrd`` of Slicer; none for other files."""
    segments: list[tuple[str, int, int]] = []
    while f"Segment{len(segments)}_ID" in tags or f"Segment{len(segments)}_Name" in tags:
        number = len(segments)
        key = f"Segment{number}_"
        name = tags.get(key + "Name") or tags[key + "ID"]
        # Slicer before 4.11 gave each segment a layer of its own, with label 1, and no such tags.
        label, layer = tags.get(key + "LabelValue", "1"), tags.get(key + "Layer", str(number))
        if not (label.strip().isdecimal() and layer.strip().isdecimal()):
            raise InvalidRequest(
                f"The segment {name} has the label {label!r} in layer {layer!r}; expected whole numbers."
            )
        segments.append((name.strip(), int(label), int(layer)))
    return segments
