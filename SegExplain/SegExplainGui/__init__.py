"""What the Slicer module SegExplain is made of: the panel, the way to the worker and back, the nodes of a result."""
