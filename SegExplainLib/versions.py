"""Which versions made a result."""

import importlib.metadata
import platform

from SegExplainLib import __version__

NAMED_PACKAGES = ("torch", "monai", "captum", "shap", "numpy", "scipy", "SimpleITK", "nnunetv2")


def installed_versions() -> dict[str, str]:
    """Name -> version, of this package, of Python, and of the packages that decide results and are installed."""
    found = {"segexplain": __version__, "python": platform.python_version()}
    for name in NAMED_PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
