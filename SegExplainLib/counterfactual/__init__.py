"""The CT as it might be without the target: near the CT, believable, and no longer labelled.

The counterfactual baseline of Geiger et al. (2025), arXiv 2508.14482: a baseline should be a plausible state that lacks
the disease, not an empty image. How the authors find theirs is not known to us; the search and its loss are our
reconstruction.

Read in this order:

    hu_scale       HU <-> the network's input
    crop           a cube around the target, and the way of an edit back to the network's grid
    autoencoder    which edits look like anatomy: a variational autoencoder and its weights
    edit_space     all images that differ from the CT by such an edit
    search         the one among them that lacks the target

Nothing is imported here: take what you need from the modules.
"""
