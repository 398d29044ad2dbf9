"""The packages that SegExplain works with, and what each is needed for. Standard library only."""

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from importlib.machinery import ModuleSpec

EXPLAINING = "explaining"

REQUIREMENTS = {
    "torch>=2.6,!=2.9.*": EXPLAINING,
    "monai>=1.4": EXPLAINING,  # MONAI bundles, the demo model among them
    "captum>=0.9": "--method captum, saliency and input-x-gradient",
    "shap>=0.46": "--method shap, and shap's plots of a result",
    "numpy>=1.26": EXPLAINING,
    "scipy>=1.12": EXPLAINING,
    "scikit-learn>=1.4": "comparing a map with a mask",
    "threadpoolctl>=3.1": EXPLAINING,
    "SimpleITK>=2.3": EXPLAINING,
    "nibabel>=5": EXPLAINING,
    "pynrrd>=1.0": EXPLAINING,
    "slicerio>=1.2": "reading players.seg.nrrd in Python",
    "pydicom>=2.4": EXPLAINING,
    "matplotlib>=3.8": EXPLAINING,
    "jinja2>=3.1": EXPLAINING,
    "rich>=13": "the command line",
    "typer>=0.12": "the command line",
    "psutil>=5.9": EXPLAINING,
    "pyyaml>=6": "MONAI bundles in YAML",
    "nnunetv2>=2.6,<2.9": "nnU-Net and TotalSegmentator models",
    "acvl-utils>=0.2,<0.3": "nnU-Net and TotalSegmentator models",
}
"""Requirement -> what does not work without it: pyproject.toml's dependencies, then those of its extra "nnunet"."""

MODULES = {"pynrrd": "nrrd", "pyyaml": "yaml", "scikit-learn": "sklearn", "acvl-utils": "acvl_utils"}
"""Packages that are imported by another name than they are installed by."""


@dataclass(frozen=True)
class Unmet:
    """A requirement that this Python does not meet.

    Attributes:
        name: Of the package.
        requirement: As pip takes it.
        needed_for: What does not work without it; ``EXPLAINING`` where nothing does.
        found: The version that is installed and does not fit; empty where none is.
        is_partial: Whether only a part of it is installed.
    """

    name: str
    requirement: str
    needed_for: str
    found: str = ""
    is_partial: bool = False


def unmet_requirements() -> list[Unmet]:
    """What is missing, too old, too new or half installed; nothing is imported."""
    importlib.invalidate_caches()
    checked = (_unmet(requirement, needed_for) for requirement, needed_for in REQUIREMENTS.items())
    return [unmet for unmet in checked if unmet is not None]


def installed_version(name: str) -> str:
    """Of a package, from its metadata; empty where there is none."""
    try:
        return importlib.metadata.version(name) or ""  # half a metadata file names no version
    except importlib.metadata.PackageNotFoundError:
        return ""


def _unmet(requirement: str, needed_for: str) -> Unmet | None:
    name = re.split("[<>=!]", requirement, maxsplit=1)[0]
    found, spec = installed_version(name), _spec(MODULES.get(name, name))
    is_whole = spec is not None and spec.origin is not None  # a broken installation leaves bare folders
    # Without metadata nothing is known of the version; Slicer builds some of its packages so.
    if is_whole and (not found or _fits(found, requirement.removeprefix(name))):
        return None
    is_partial = not is_whole and (spec is not None or bool(found))
    return Unmet(name, requirement, needed_for, found=found, is_partial=is_partial)


def _spec(module: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):  # what is imported already may have lost its spec
        return None


def _fits(version: str, conditions: str) -> bool:
    """Whether a version meets conditions such as ``>=2.6,!=2.9.*``; what follows its numbers is not looked at."""
    return all(_meets(_numbers(version), condition) for condition in conditions.split(","))


def _meets(numbers: tuple[int, ...], condition: str) -> bool:
    operator, bound = condition[: 2 if condition[1] == "=" else 1], _numbers(condition)
    if operator == "!=":  # only ever with .*
        return numbers[: len(bound)] != bound
    length = max(len(numbers), len(bound))
    ours, theirs = (part + (0,) * (length - len(part)) for part in (numbers, bound))
    return ours >= theirs if operator == ">=" else ours < theirs


def _numbers(text: str) -> tuple[int, ...]:
    """``2.13.0+cpu``, ``>=2.13.0`` -> (2, 13, 0)."""
    found = re.search(r"\d+(\.\d+)*", text)
    return tuple(int(number) for number in found[0].split(".")) if found else ()
