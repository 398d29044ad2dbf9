"""Can the explanation be trusted? Numbers for how faithful, stable and plausible it is.

Faithfulness by units asks the game itself, the one that the explanation was made from: units are removed, and what the
explained number does is held against what the explanation says. It needs numpy alone, knows nothing of images or
networks, and asks for no coalition twice. Read in this order:

    metric                     a number, how sure it is, or why there is none
    remembered_game            the game, asked once for each coalition
    unit_orders                which unit goes first: importances as orders
    unit_curves                the number while units go one after the other, and the areas of such curves
    random_orders              the same areas where the order knows nothing: band, percentile, p-value
    bounds                     the same areas at best and at worst, and the share of the way between them
    unit_subsets               importances of random subsets against what their removal does

Agreement with anatomy compares a map with masks and never asks the network: a faithful explanation need not agree with
anatomy, and one that agrees need not be faithful.

    map_sign                   which side of a signed map is judged
    map_domain                 where it is judged
    agreement                  whether the map points at a mask
    segment_dice               whether its best segments are the mask
    mass                       how much of the map lies in the target, along its border, in each unit
    complexity                 whether few values carry the explanation, or all carry a little

Nothing is imported here: take what you need from the modules.
"""
