"""Quantus agrees where it can be asked: it takes no volumes, but these numbers know no neighbours, so rows will do."""

import numpy as np
import pytest
from evaluation_cases import random_case

from SegExplainLib.evaluation.agreement import agreement
from SegExplainLib.evaluation.complexity import complexity
from SegExplainLib.evaluation.map_sign import SIGNS, of_sign
from SegExplainLib.evaluation.mass import MASS_SIGNS, target_masses

quantus = pytest.importorskip("quantus")

A_MAP, MASK, _ = random_case(3)


def asked(kind, values, *, sign="signed", **options):
    """What a metric of Quantus says of values (k, j, i), unrolled to an image (k, j * i)."""
    rows = of_sign(values.astype(np.float64), sign=sign).reshape(1, 1, len(values), -1)
    metric = kind(disable_warnings=True, **options)
    (told,) = metric(
        model=None,
        x_batch=np.zeros_like(rows),
        y_batch=np.zeros(1, dtype=int),
        a_batch=rows,
        s_batch=MASK.array.reshape(rows.shape),
    )
    return float(told)


@pytest.mark.filterwarnings("ignore")
def test_spread_is_that_of_quantus():
    told = complexity(A_MAP.array, least_share=0.1)
    assert told.entropy == pytest.approx(asked(quantus.Complexity, A_MAP.array))
    assert told.sparseness == pytest.approx(asked(quantus.Sparseness, A_MAP.array))
    assert told.n_effective == asked(quantus.EffectiveComplexity, A_MAP.array, eps=0.1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("levels", [None, 2], ids=["all differ", "many ties"])
def test_the_roc_auc_is_that_of_quantus(sign, levels):
    a_map, _, _ = random_case(3, levels=levels)
    told = asked(quantus.AUC, a_map.array, sign=sign, normalise=False)
    assert agreement(a_map, MASK, sign=sign).roc_auc.value == pytest.approx(told)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sign", SIGNS)
def test_pointing_is_that_of_quantus_where_nothing_ties(sign):
    told = asked(quantus.PointingGame, A_MAP.array, sign=sign)
    assert agreement(A_MAP, MASK, sign=sign).pointing.value == told


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sign", MASS_SIGNS)
def test_the_mass_in_the_target_is_the_relevance_mass_of_quantus(sign):
    (target,) = (row for row in target_masses(A_MAP, MASK).unions if row.sign == sign)
    assert target.mass == pytest.approx(asked(quantus.RelevanceMassAccuracy, A_MAP.array, sign=sign), rel=1e-5)
