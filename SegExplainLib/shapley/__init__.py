"""Shapley values of any cooperative game, from numpy and scipy alone.

Knows nothing of images, networks or files: a game is a callable on boolean coalitions, an answer is a
`ShapleyEstimate`. Every estimator has the same signature and streams: it yields an estimate after each batch of
evaluations, and last the final one.

    estimator(game, *, budget, tolerance, seed, settle=0, interim=True) -> Iterator[ShapleyEstimate]

Read in this order:

    value_function             what a game is (ValueFunction) and what an answer is (ShapleyEstimate)
    exact                      exact_shapley: all 2^n coalitions
    coalitions                 subsets, complement pairs, and the register of pairs already met
    stopping                   when to look at the estimate, and when to stop
    paired_sampling            what all sampling estimators share: ask for pairs, solve, yield, stop or go on
    paired_least_squares       values and jackknife errors from pairs, with efficiency exact
    sampled_mean               unbiased values from few pairs: the first picture
    kernel_regression          kernel_shap: sizes by the Shapley kernel, with replacement
    leverage                   leverage_shap: sizes uniform, without replacement
    gaussian_process           a process that learns the odd part of a game; its Shapley values in closed form
    adjusted_shap              adjusted_shap: what the process says, corrected by sampling; leverage_shap's pairs
    permutation                permutation_shapley: random orders and their reverses
    student_t                  the quantile behind confidence intervals from few samples

One fact carries the package. Shapley values depend on a game only through its odd part, o(S) = (v(S) - v(N - S)) / 2.
So the sampling estimators ask for complement pairs {S, N - S} and keep one number per pair.

Nothing is imported here: take what you need from the modules.
"""
