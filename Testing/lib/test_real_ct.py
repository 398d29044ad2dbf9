"""The whole line on a real CT with a real nnU-Net; skipped where the data are not at hand."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from SegExplainLib.contract import ExplainRequest
from SegExplainLib.pipeline import explain


@pytest.mark.parametrize(
    ("target", "roi", "units", "unit_mm"),
    [
        ("kidney_right", "ijk:80,84,37,41,81,85", "fcc", 200.0),
        ("liver", "ijk:80,84,56,60,97,101", "hybrid", 400.0),
        ("liver", "ijk:80,84,56,60,97,101", "organs", 30.0),
    ],
)
def test_a_region_of_a_real_ct_is_explained(the_shared_data, tmp_path, monkeypatch, target, roi, units, unit_mm):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # two tiles side by side: this is the longest test
    request = ExplainRequest(
        ct=str(the_shared_data / "data/abdomen_pelvis/ct.nii.gz"),
        model=str(the_shared_data / "models/abdomen_3mm"),
        target=target,
        roi=roi,
        units=units,
        unit_mm=unit_mm,
        removal="air",
        value="tp-share",
        method="leverage-shap",
        budget=60,
        tolerance=0.9,
    )
    manifest = explain(request, tmp_path / "out")
    assert manifest.estimate["full_value"] == 1.0
    assert manifest.estimate["empty_value"] < 0.5
    assert manifest.counts["n_roi_tiles"] < manifest.counts["n_image_tiles"]
    painted = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "attribution.nrrd")))
    assert painted.shape == (112, 101, 122)
    assert np.abs(painted).max() > 0
