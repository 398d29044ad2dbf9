"""Which versions made a result."""

import platform

from SegExplainLib import __version__
from SegExplainLib.requirements import installed_version

NAMED_PACKAGES = ("torch", "monai", "captum", "shap", "numpy", "scipy", "SimpleITK", "nnunetv2")


def installed_versions() -> dict[str, str]:
    """Name -> version, of this package, of Python, and of the packages that decide results and are installed."""
    ours = {"segexplain": __version__, "python": platform.python_version()}
    theirs = {name: installed_version(name) for name in NAMED_PACKAGES}
    return ours | {name: version for name, version in theirs.items() if version}
