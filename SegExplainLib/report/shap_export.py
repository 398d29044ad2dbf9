"""The importances as a ``shap.Explanation``, for the plots and the tools of the shap package."""

from typing import TYPE_CHECKING

import numpy as np

from SegExplainLib.attribution import Attribution
from SegExplainLib.contract import InvalidRequest
from SegExplainLib.report.shown import shares_out_difference
from SegExplainLib.report.wording import readable

if TYPE_CHECKING:
    import shap


def shap_explanation(attribution: Attribution) -> "shap.Explanation":
    """One row of one explanation: ``shap.plots.bar`` and ``shap.plots.waterfall`` draw it as it is.

    ``values`` (n_players,) are the importances, ``base_values`` the number with every unit removed, or at
    the baseline, ``data`` the units'
    volumes in ml, to one decimal (the plots print them beside the names), ``feature_names`` their readable names.
    Standard errors go along as ``error_std``.

    Raises:
        InvalidRequest: the values do not add up, so that there is no number for the plots to begin with.
    """
    if not shares_out_difference(attribution):
        raise InvalidRequest(
            f"The values of {attribution.method} are no parts of a difference, which shap.Explanation needs for its "
            "base value.",
            "Use a Shapley method, integrated-gradients or expected-gradients; players.csv holds the values of all.",
        )
    import shap

    return shap.Explanation(
        values=attribution.player_values.astype(np.float64),
        base_values=float(attribution.empty_value),
        data=np.round(attribution.partition.volumes_ml, 1),
        feature_names=[readable(name) for name in attribution.partition.names],
        error_std=attribution.standard_errors.astype(np.float64),
    )
