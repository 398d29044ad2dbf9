"""What the frameworks themselves predict from a model folder: nnU-Net's predictor, and MONAI's own run of a bundle."""

import json
from pathlib import Path

import nibabel
import numpy as np
import torch

from SegExplainLib.volume import Volume, VoxelGrid

CPU = torch.device("cpu")


class NnUNetOracle:
    """nnU-Net's own predictor, opened without any of our code."""

    def __init__(self, folder: Path, *, mirroring=True, configuration="3d_fullres"):
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        dataset = json.loads((folder / "dataset.json").read_text())
        plans = PlansManager(json.loads((folder / "plans.json").read_text()))
        content = plans.get_configuration(configuration)
        checkpoints = [
            torch.load(path, weights_only=False) for path in sorted(folder.glob("fold_*/checkpoint_final.pth"))
        ]
        network = get_network_from_plans(
            content.network_arch_class_name,
            content.network_arch_init_kwargs,
            content.network_arch_init_kwargs_req_import,
            1,
            plans.get_label_manager(dataset).num_segmentation_heads,
            deep_supervision=False,
        )
        self.predictor = nnUNetPredictor(device=CPU, allow_tqdm=False, use_mirroring=mirroring)
        self.predictor.manual_initialization(
            network,
            plans,
            content,
            [checkpoint["network_weights"] for checkpoint in checkpoints],
            dataset,
            checkpoints[0]["trainer_name"],
            checkpoints[0]["inference_allowed_mirroring_axes"],
        )

    def logits(self, ct: Volume) -> np.ndarray:
        """(n_channels, k, j, i) on nnU-Net's own grid without padding, as it fuses them: in half precision."""
        array, properties = self.as_read(ct)
        p = self.predictor
        data = p.configuration_manager.preprocessor_class(verbose=False).run_case_npy(
            array, None, properties, p.plans_manager, p.configuration_manager, p.dataset_json
        )[0]
        return p.predict_logits_from_preprocessed_data(torch.from_numpy(data)).float().numpy()

    def labels(self, ct: Volume) -> tuple[np.ndarray, np.ndarray]:
        """Labels (k, j, i) and the margin of the decision in logits."""
        labels, p = self.predictor.predict_single_npy_array(*self.as_read(ct), None, None, True)
        p = np.clip(p.astype(np.float64), 1e-12, 1 - 1e-12)
        if self.predictor.label_manager.has_regions:
            return labels, np.abs(np.log(p / (1 - p))).min(axis=0)
        best = np.sort(np.log(p), axis=0)
        return labels, best[-1] - best[-2]

    def as_read(self, ct: Volume) -> tuple[np.ndarray, dict]:
        return ct.array[None].astype(np.float32), {"spacing": [float(mm) for mm in ct.grid.spacing_kji_mm]}


class BundleOracle:
    """MONAI's own reading, preprocessing, sliding window and postprocessing of a bundle, straight from its config."""

    def __init__(self, folder: Path, *, scratch: Path, config_name="inference.json"):
        from monai.bundle import ConfigParser

        parser = ConfigParser()
        parser.read_config(str(folder / "configs" / config_name))
        parser["bundle_root"] = str(folder)
        parser["output_dir"] = str(scratch / "eval")
        self.scratch = scratch
        self.preprocessing, self.inferer, self.postprocessing, self.network = (
            parser.get_parsed_content(part) for part in ("preprocessing", "inferer", "postprocessing", "network")
        )
        self.network.load_state_dict(torch.load(folder / "models" / "model.pt"))
        self.network.eval()

    def predicted(self, ct: Volume) -> tuple[np.ndarray, np.ndarray]:
        """Logits (n_channels, a, b, c) without padding, and the postprocessed prediction (channels, i, j, k)."""
        path = self.scratch / "ct.nii.gz"
        nibabel.save(nibabel.Nifti1Image(ct.array.T.astype(np.float32), ct.grid.ijk_to_ras), path)
        data = self.preprocessing({"image": str(path)})
        with torch.no_grad():
            data["pred"] = self.inferer(data["image"][None], self.network)[0]
        logits = data["pred"].numpy().copy()
        return logits, np.asarray(self.postprocessing(data)["pred"])


def as_stored(ct: Volume) -> Volume:
    """The CT with the affine that a NIfTI file holds, which is in float32."""
    image = nibabel.Nifti1Image(ct.array.T.astype(np.float32), ct.grid.ijk_to_ras)
    stored = image.header.get_best_affine()
    return Volume(ct.array.astype(np.float32), VoxelGrid(ct.grid.shape_kji, stored))
