import numpy as np
from matplotlib import use
from report_builders import torso_attribution

from SegExplainLib.report.shap_export import shap_explanation

use("Agg")


def test_the_explanation_holds_the_same_numbers_and_adds_up():
    attribution = torso_attribution()
    explanation = shap_explanation(attribution)
    np.testing.assert_array_equal(explanation.values, attribution.player_values)
    assert explanation.base_values == attribution.empty_value
    assert explanation.base_values + explanation.values.sum() == attribution.full_value
    assert explanation.feature_names[3] == "vertebrae L1"
    np.testing.assert_allclose(explanation.data, attribution.partition.volumes_ml, atol=0.05)


def test_the_plots_of_shap_draw_it():
    import shap
    from matplotlib import pyplot

    explanation = shap_explanation(torso_attribution())
    for plot in (shap.plots.bar, shap.plots.waterfall):
        figure = pyplot.figure()
        plot(explanation, show=False)
        words = [text.get_text() for axes in pyplot.gcf().axes for text in axes.findobj() if hasattr(text, "get_text")]
        assert any("liver" in word for word in words)
        pyplot.close(figure)
    pyplot.close("all")
