"""Voxel maps from derivatives of the explained number by the network's input.

Every method streams and has one form:

    method(score, partition, *, baselines, budget, tolerance, seed) -> Iterator[VoxelEstimate]

Those that take many gradients also have ``memory``, from which an interrupted run goes on.

Read in this order:

    tile_graph                 one tile with its graph, and why a network may have none
    backward                   the whole sliding window as one differentiable network, at one tile's memory
    stitched_score             the explained number as a function of the network's input
    memory                     the sums so far, for a run that is interrupted
    voxel_estimate             what an answer is, and when to stop
    saliency                   saliency, input_x_gradient
    integrated_gradients       along a straight path from each baseline
    expected_gradients         at random points of paths from random baselines
    smoothgrad                 smoothgrad, smoothgrad_squared, vargrad: gradients under noise
    guided_backprop            only what speaks for, through every rectifier
    seg_grad_cam               a layer's features, weighted by the gradient
    oversegmentation           a CT cut into segments of several sizes
    region_ranking             segments by the attribution that each still adds
    xrai                       integrated gradients, told region by region

Nothing is imported here: take what you need from the modules.
"""
