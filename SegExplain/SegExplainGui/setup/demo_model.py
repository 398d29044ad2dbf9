"""Where the demo model lies, which comes with SegExplain."""

from pathlib import Path

import SegExplainLib


def demo_model() -> str:
    """Folder of the bundled demo model; empty when it is not part of this installation."""
    package = Path(SegExplainLib.__file__).resolve().parent
    folders = (package / "resources" / "demo_model", package.parent / "Resources" / "demo_model")
    return next((str(folder) for folder in folders if (folder / "configs" / "inference.json").exists()), "")
