import json

import pytest
import torch
from monai.transforms import Compose, Invertd, LoadImaged, SaveImaged
from tiny_models import bundle_config

from SegExplainLib.contract import UnusableModel
from SegExplainLib.model.bundle_config import BundleConfig, is_harmless

CPU = torch.device("cpu")


def written(tmp_path, config, *, trust=False) -> BundleConfig:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text(json.dumps(config))
    return BundleConfig(tmp_path, device=CPU, trust=trust)


@pytest.mark.parametrize(
    "expression",
    [
        "$[1.5, 1.5, 1.5] if @displayable_configs#highres else [3.0, 3.0, 3.0]",
        "$@bundle_root + '/models/' + @modelname",
        "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "$@preprocessing",
        "$not @flag and -@a // 2 >= 3",
        "$int(@n_channels)",
        "$@transforms[1:] + [@extra]",
        "$numpy.float32",
    ],
)
def test_expressions_of_usual_bundles_are_harmless(expression):
    assert is_harmless(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "$import os",
        "$__import__('os').system('true')",
        "$os.system('true')",
        "$@network_def.to(@device)",
        "$().__class__.__base__.__subclasses__()",
        "$(lambda: 1)()",
        "$[x for x in @datalist]",
        "$torch.load('x')",
        "$torch.hub.load('a', 'b')",
        "$setattr(torch.backends.cudnn, 'benchmark', True)",
        "$9 ** 9 ** 9",
        "$f'{@x.__class__}'",
        "$'@a' + @b",
        "$open('x')",
        "$int.__subclasses__()",
        "$monai.apps.utils.download_url('x')",
        "$(x := 1)",
        "$1 +",
        "$" + "-" * 20000 + "1",
    ],
)
def test_expressions_that_could_do_anything_are_not(expression):
    assert not is_harmless(expression)


def test_the_parts_of_a_usual_bundle_are_built_without_trust_though_others_run_code(tmp_path):
    config = bundle_config()
    config["download"] = "$monai.apps.utils.download_url('http://nowhere', 'x')"
    preprocessing, post = written(tmp_path, config).built("preprocessing", "postprocessing")
    assert isinstance(preprocessing, Compose)
    inverse = next(transform for transform in post.transforms if isinstance(transform, Invertd))
    assert inverse.transform is preprocessing


def test_reading_and_writing_of_files_is_left_out(tmp_path):
    config = bundle_config()
    config["preprocessing"]["transforms"][0]["_target_"] = "monai.transforms.LoadImageDict"
    preprocessing, post = written(tmp_path, config).built("preprocessing", "postprocessing")
    kinds = [type(transform) for transform in (*preprocessing.transforms, *post.transforms)]
    assert LoadImaged not in kinds
    assert SaveImaged not in kinds
    assert len(kinds) == 4 + 3


def test_references_are_followed_through_expressions_and_their_code_is_found(tmp_path):
    config = bundle_config()
    config["inferer"]["overlap"] = "$@first + 0.05"
    config["first"] = "@second#value"
    config["second"] = {"value": 0.2, "unused": 3}
    assert written(tmp_path, config).built("inferer")[0].overlap == 0.25
    config["second"]["unused"] = "$os.getcwd()"
    (tmp_path / "configs" / "inference.json").write_text(json.dumps(config))
    with pytest.raises(UnusableModel, match=r"os\.getcwd.*--trust-model"):
        BundleConfig(tmp_path, device=CPU, trust=False).built("inferer")


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "torch.nn.functional.torch.load",
        "torch.nn.modules.module.torch.hub.load",
        "monai.utils.misc.os.system",
        "monai.bundle.scripts.run",
        "monai.apps.utils.download_url",
        "run_cmd",
        "monai.utils.run_cmd",
        "WriteFileMapping",
        "monai.transforms.WriteFileMapping",
        "scripts.my_transforms.Anything",
        "$@something",
        3,
    ],
)
def test_a_target_that_is_no_network_layer_transform_or_inferer_needs_trust(tmp_path, target):
    config = bundle_config()
    config["preprocessing"]["transforms"].append({"_target_": target, "keys": "image"})
    with pytest.raises(UnusableModel, match="--trust-model"):
        written(tmp_path, config).built("preprocessing")


def test_debug_modes_and_downloads_need_trust(tmp_path):
    config = bundle_config()
    config["inferer"]["_mode_"] = "debug"
    config["network_def"]["pretrained_url"] = "https://somewhere/weights.pt"
    opened = written(tmp_path, config)
    for part, fault in {"inferer": "debug", "network_def": "download"}.items():
        assert not opened.is_safe(part)
        with pytest.raises(UnusableModel, match=fault):
            opened.built(part)


def test_a_trusted_bundle_may_bring_its_own_classes(tmp_path):
    (tmp_path / "bundle_scripts.py").write_text(
        "from monai.transforms import MapTransform\nclass Own(MapTransform):\n    def __call__(self, data):\n"
        "        return data\n"
    )
    config = bundle_config()
    config["preprocessing"]["transforms"].append({"_target_": "bundle_scripts.Own", "keys": "$['image']"})
    preprocessing = written(tmp_path, config, trust=True).built("preprocessing")[0]
    assert type(preprocessing.transforms[-1]).__name__ == "Own"


def test_what_cannot_be_built_is_named(tmp_path):
    config = bundle_config()
    config["inferer"]["no_such_argument"] = 1
    opened = written(tmp_path, config)
    with pytest.raises(UnusableModel, match=r"inferer cannot be built.*no_such_argument"):
        opened.built("inferer")
    with pytest.raises(UnusableModel, match="lacks the part 'nothing'"):
        opened.built("nothing")


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"a": 1, "a": 2', "3"])
def test_a_broken_configuration_is_refused(tmp_path, content):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text(content)
    with pytest.raises(UnusableModel, match=r"inference\.json"):
        BundleConfig(tmp_path, device=CPU, trust=False)


def test_a_missing_configuration_is_named(tmp_path):
    with pytest.raises(UnusableModel, match=r"lacks configs/inference\.json"):
        BundleConfig(tmp_path, device=CPU, trust=False)
