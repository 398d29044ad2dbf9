"""What the network sees where a unit is absent. One file for each kind; all but ``references`` have one form:

``fill(network_input, partition, *, body, air, mean) -> float32 (channels, k, j, i)``

The result is the whole network input with every unit absent. It is one array for all coalitions, because no fill
depends on which other units are absent: where a fill looks at a unit's surroundings, it looks at the CT as it is, even
if the neighbour is absent too. So a voxel of an absent unit takes its value from this array, one of a present unit from
the CT, and the order of removals never matters. (Filling from what is left would make the game's value depend on the
fill's guess about the rest, at the price of one fill for each coalition.)

Every fill leaves the voxels of no unit (context and padding) as they are, bit for bit, and is the same physical image
however the array is stored: distances are in mm, with the axes taken as being at right angles. It is made after
preprocessing, so that normalisation does not move with the coalition.

``references`` takes the units from another patient's CT, which ``registration`` brings to this one; it keeps the same
promises. `SegExplainLib.baselines` says which fills a removal is made of.
"""
