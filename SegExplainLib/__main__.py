"""``python -m SegExplainLib`` is ``segexplain``."""

from SegExplainLib.cli import main

main()
