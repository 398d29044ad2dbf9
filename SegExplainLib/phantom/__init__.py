"""The synthetic torso CT used by the demo, the demo model's training and the tests.

``torso`` tells the story and is what one calls; ``trunk``, ``skeleton``, ``circulation`` and ``viscera`` paint the
anatomy onto a ``canvas`` from the signed distances in ``shapes``; ``tissue`` says how bright everything is.
"""

from SegExplainLib.phantom.torso import DEMO_SEED, LABEL_NAMES, Torso, make_torso

__all__ = ["DEMO_SEED", "LABEL_NAMES", "Torso", "make_torso"]
