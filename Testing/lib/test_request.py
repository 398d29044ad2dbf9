"""Options of a request that its method does not read: named, and told before the work begins."""

from dataclasses import replace

import pytest

from SegExplainLib.contract import METHODS, Cancelled, ExplainRequest
from SegExplainLib.gradient_run import GRADIENTS
from SegExplainLib.pipeline import explain
from SegExplainLib.progress import Progress

OTHER_THAN_DEFAULT = {"noise": 0.2, "layer": "decoder", "float32": True, "xrai_fast": True, "xrai_units": True}


def a_request(method, **given):
    return ExplainRequest(ct="ct", model="model", target="liver", roi="segment:liver", method=method, **given)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_leaves_unused_just_what_its_implementation_does_not_take(method):
    taken = {"float32", *GRADIENTS[method].options.values()} if method in GRADIENTS else set()
    unused = set(a_request(method, **OTHER_THAN_DEFAULT).unused_options)
    assert unused == OTHER_THAN_DEFAULT.keys() - taken


@pytest.mark.parametrize("method", METHODS)
def test_what_was_not_given_is_not_unused(method):
    assert a_request(method).unused_options == ()


def test_they_are_named_in_the_order_of_the_request_and_one_alone_stands_alone():
    assert a_request("kernel-shap", **OTHER_THAN_DEFAULT).unused_options == tuple(OTHER_THAN_DEFAULT)
    assert a_request("saliency", layer="decoder", float32=True).unused_options == ("layer",)


@pytest.mark.parametrize(("given", "warnings"), [({"noise": 0.2, "xrai_fast": True}, 1), ({}, 0)])
def test_the_user_is_told_before_the_work_begins(a_question, tmp_path, given, warnings):
    progress = Progress()
    progress.listener = lambda event: progress.cancel() if event.event == "stage" else None
    with pytest.raises(Cancelled):
        explain(replace(a_question, method="saliency", **given), tmp_path / "out", progress=progress)
    told = [warning for warning in progress.warnings if "has no effect" in warning]
    assert told == ["saliency does not use noise, xrai_fast: what was given has no effect."] * warnings
