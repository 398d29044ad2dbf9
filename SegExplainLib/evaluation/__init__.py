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
    resampling                 correlations and misses, with errors from the bootstrap
    unit_subsets               importances of random subsets against what their removal does
    plan, unit_scores          all of these for one explanation, within a budget

Agreement with anatomy compares a map with masks and never asks the network. A faithful explanation need not agree with
anatomy, nor is one that agrees faithful for that:

    map_sign, map_domain       which side of a map is judged, and where
    agreement                  ROC-AUC, average precision and pointing against a mask
    segment_dice               XRAI-DSC: the best segments of a map as a mask
    mass                       a map's mass in the target, along its border, in each organ
    complexity                 how many values carry an explanation
    map_scores                 all of these for one map

``scorecard`` is what several explanations of one question come to.

Nothing is imported here: take what you need from the modules.
"""
