"""Results in the scene: one run's nodes, made, filled, shown, found again after loading, and removed."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from slicer.i18n import tr as _

from SegExplainGui.scene import importance_map, unit_segments, unit_table
from SegExplainGui.scene.colour_scale import ColourScale
from SegExplainGui.scene.ct_grid import ct_grid
from SegExplainGui.scene.quantity_words import is_relative, is_signed, map_title, noun_of
from SegExplainGui.scene.result_nodes import (
    NAME,
    add_voxel_nodes,
    composites_in,
    heads_in,
    make_nodes,
    name_map,
    node_of,
    remove_nodes,
    required_node,
)
from SegExplainGui.scene.stored_answers import store_answers, stored_answers
from SegExplainGui.scene.unit_answers import Answer, UnitAnswers, read_unit_answers
from SegExplainGui.scene.unit_labels import centre_of_unit, read_unit_labels, set_voxels, voxels_of
from SegExplainGui.scene.voxel_map import read_voxel_map, show_voxels
from SegExplainGui.shown_result import CheckedTrust, UnitRow
from SegExplainLib.contract import InvalidRequest

_SHOWN, _SENTENCES, _FOLDER, _HIGHLIGHTED, _INTERIM, _METHOD, _TRUST = (
    f"SegExplain.{what}" for what in ("Shown", "Sentences", "Folder", "Highlighted", "Interim", "Method", "Trust")
)


@dataclass(frozen=True)
class Result:
    """One run's nodes. Two are equal when they are of the same run. All that it knows is in the scene.

    Every method raises InvalidRequest when the result is no longer in the scene, or has lost a node that it needs.
    What was deleted of the other nodes is left out.

    Attributes:
        head: vtkMRMLTableNode with all answers, from which the other nodes are found.
        segmentations_logic: Needed by `set_units` alone.
    """

    head: Any
    segmentations_logic: Any = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """For people; unique in the scene."""
        return self.head.GetAttribute(NAME) or ""

    @property
    def is_in_scene(self) -> bool:
        """Whether the result can still be used: it was not removed, and the scene not closed."""
        return self.head.GetScene() is not None

    @property
    def ct(self) -> Any:
        """The vtkMRMLScalarVolumeNode that was explained; None once it was deleted."""
        return node_of(self.head, "ct")

    @property
    def segmentation(self) -> Any:
        """vtkMRMLSegmentationNode of the strongest units, those in the views; None once it was deleted."""
        return node_of(self.head, "strongest")

    @property
    def all_units(self) -> Any:
        """vtkMRMLSegmentationNode of all units, hidden at first; None once it was deleted."""
        return node_of(self.head, "units")

    @property
    def overlay(self) -> Any:
        """vtkMRMLScalarVolumeNode, float32: the importance of each voxel's unit; None once it was deleted.

        Of a gradient method that of the voxel itself, in percent where only ratios mean something.
        """
        return node_of(self.head, "map")

    @property
    def seen(self) -> Any:
        """vtkMRMLLabelMapVolumeNode that shows it in the slice views: shades, or units; None once it was deleted."""
        return node_of(self.head, "shades" if self.has_voxel_map else "labels")

    @property
    def method(self) -> str:
        """The one of ``contract.GRADIENT_METHODS`` that made it; empty where units were removed."""
        return self.head.GetAttribute(_METHOD) or ""

    @property
    def has_voxel_map(self) -> bool:
        """Whether a gradient method made it: with a number for each voxel, and nothing removed."""
        return bool(self.method)

    @property
    def table(self) -> Any:
        """vtkMRMLTableNode for people; None once it was deleted."""
        return node_of(self.head, "table")

    @property
    def chart(self) -> Any:
        """vtkMRMLPlotChartNode of the strongest units; None once it was deleted."""
        return node_of(self.head, "chart")

    # what the worker tells

    def set_units(self, path: Path) -> None:
        """Reads which voxel belongs to which unit.

        Raises:
            InvalidRequest: the file cannot be read, or the CT was deleted.
            GeometryMismatch: the file does not lie on the CT's voxels.
        """
        self._require_scene()
        if self.ct is None:
            raise InvalidRequest(_("The CT was deleted while it was being explained."), _("Load it and explain again."))
        units = read_unit_labels(path, ct_grid(self.ct))
        labels = required_node(self.head, "labels")
        set_voxels(labels, units.labels, units.ijk_to_ras)
        for role in ("units", "strongest"):
            if (segmentation := node_of(self.head, role)) is not None:
                segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self.ct)
        if self.all_units is not None:
            unit_segments.fill_units(self.all_units, labels, self.segmentations_logic)
        if self.overlay is not None and not self.has_voxel_map:
            importance_map.place_map(self.overlay, labels)

    def set_voxel_map(self, path: Path, *, method: str) -> None:
        """Reads the importance of each voxel, as one of ``contract.GRADIENT_METHODS`` gives it.

        Raises:
            InvalidRequest: the file cannot be read, or the CT or the map was deleted.
            GeometryMismatch: the file does not lie on the CT's voxels.
        """
        self._require_scene()
        if self.ct is None:
            raise InvalidRequest(_("The CT was deleted while it was being explained."), _("Load it and explain again."))
        found, volume = read_voxel_map(path, ct_grid(self.ct), method=method), required_node(self.head, "map")
        is_first = not self.has_voxel_map
        add_voxel_nodes(self.head)
        shades = required_node(self.head, "shades")
        if shades.GetDisplayNode() is None:
            importance_map.prepare_labels(shades, required_node(self.head, "shade_colours"))
        self.head.SetAttribute(_METHOD, method)
        if is_first and noun_of(method) != noun_of(""):
            name_map(self.head, noun_of(method))
        show_voxels(found, volume, shades, keep_user_window=not is_first)

    def set_answers(self, path: Path, *, target: str = "", quantity: str = "", is_interim: bool = False) -> None:
        """Reads the importances; `show` shows them.

        Args:
            path: answers.csv of a finished run, or players.csv of one under way.
            target: The class, where players.csv does not name it.
            quantity: The explained number, where players.csv does not name it.
            is_interim: The run goes on, and the numbers are still uncertain.
        """
        self._require_scene()
        store_answers(self.head, read_unit_answers(path, target=target, quantity=quantity))
        self.head.SetAttribute(_INTERIM, "1" if is_interim else None)

    def set_sentences(self, sentences: Sequence[str], *, folder: Path) -> None:
        """Keeps the answer in plain words, and where the results lie."""
        self._require_scene()
        self.head.SetAttribute(_SENTENCES, json.dumps(list(sentences)))
        self.head.SetAttribute(_FOLDER, str(folder))

    @property
    def sentences(self) -> list[str]:
        """The answer in plain words; empty while the run goes on."""
        return json.loads(self.head.GetAttribute(_SENTENCES) or "[]")

    @property
    def folder(self) -> Path | None:
        """The results folder; None while the run goes on. It may have been deleted since."""
        path = self.head.GetAttribute(_FOLDER)
        return Path(path) if path else None

    @property
    def has_report(self) -> bool:
        """Whether the report page is still on the disk."""
        return self.folder is not None and (self.folder / "report.html").is_file()

    def set_trust(self, trust: CheckedTrust) -> None:
        """Keeps what came of checking it, in place of an earlier check."""
        self._require_scene()
        self.head.SetAttribute(_TRUST, json.dumps(asdict(trust)))

    @property
    def trust(self) -> CheckedTrust | None:
        """What came of checking it; None while nobody has."""
        kept = self.head.GetAttribute(_TRUST)
        return CheckedTrust.of(json.loads(kept)) if kept else None

    def questions(self) -> list[tuple[str, str, str]]:
        """Class, quantity and unit of value of each answer; the explained one first."""
        return [(answer.target, answer.quantity, answer.unit) for answer in self._units().answers]

    def answers(self) -> dict[str, list[str]]:
        """Class -> quantities that can be shown; the explained class and quantity first."""
        found: dict[str, list[str]] = {}
        for target, quantity, _unit in self.questions():
            found.setdefault(target, []).append(quantity)
        return found

    def answer(self, cls: str, quantity: str) -> Answer:
        """The numbers of one answer, in the order of `rows`."""
        return self._units().of(cls, quantity)

    def unit_of_value(self, cls: str, quantity: str) -> str:
        """ "voxels", "ml", "share", "logit", or "relative" where only ratios mean something."""
        return self.answer(cls, quantity).unit

    @property
    def noun(self) -> str:
        """What its numbers are called."""
        return noun_of(self.method)

    def scale(self, cls: str, quantity: str) -> ColourScale:
        """The colours of units in an answer."""
        return self._scale_of(self.answer(cls, quantity))

    def rows(self, cls: str, quantity: str) -> list[UnitRow]:
        """Every unit's line, in the order of labels."""
        units = self._units()
        answer = units.of(cls, quantity)
        return [
            UnitRow(
                id=int(units.ids[place]),
                name=units.names[place],
                importance=float(answer.values[place]),
                standard_error=float(answer.standard_errors[place]),
                volume_ml=float(units.volumes_ml[place]),
            )
            for place in range(len(units.ids))
        ]

    # what the user sees

    @property
    def shown(self) -> tuple[str, str] | None:
        """Class and quantity that are shown; None before the first `show`."""
        kept = self._kept_view()
        return (kept["target"], kept["quantity"]) if kept else None

    def show(self, cls: str, quantity: str, *, top_k: int, sign: str, opacity: float) -> None:
        """Recolours map, segments, table and chart. Makes no node, and selects none.

        Of interim Shapley values, map and segments show the units whose sign is clear, and no noise; the table has
        all. A map of voxels stays as `set_voxel_map` has drawn it. What the user has changed stays: which of the
        segments are visible, and, as long as the question is the same, the window of the map.

        Args:
            cls: Class.
            quantity: One of the class's.
            top_k: How many units are shown as segments and bars.
            sign: Which: "both", "for" (importance above 0), "against" (below); all where numbers have no sign.
            opacity: Of the map, in 0..1, in the slice views that show it.
        """
        units = self._units()
        answer = units.of(cls, quantity)
        is_noisy = self.head.GetAttribute(_INTERIM) and not self.has_voxel_map
        pictured = answer.only_clear() if is_noisy else answer
        scale = self._scale_of(pictured)
        places = pictured.strongest(top_k, sign if scale.is_signed else "both")
        is_same_question = self.shown == (cls, quantity)
        self._show_map(units, pictured, scale, keep_user_window=is_same_question)
        self._show_segments(units, answer, units.ids[places], scale)
        if self.table is not None:
            unit_table.fill_table(self.table, units, answer, noun=self.noun)
        if (bars := node_of(self.head, "bars")) is not None:
            unit_table.fill_bars(bars, self.chart, units, answer, places, noun=self.noun)
        if (raises := node_of(self.head, "raises")) is not None:
            unit_table.colour_bars(raises, scale)
        if (seen := self.seen) is not None:
            importance_map.fade(seen, composites_in(self.head.GetScene()), opacity)
        view = {"target": cls, "quantity": quantity, "strongest": [int(unit) for unit in units.ids[places]]}
        self.head.SetAttribute(_SHOWN, json.dumps(view))

    def highlight(self, unit_id: int | None) -> None:
        """Makes one unit stand out among the strongest, which it joins; None shows all alike again."""
        self._require_scene()
        strongest = self.segmentation
        if strongest is None:
            return
        self._place_of(unit_id)
        wanted = [*self._kept_view().get("strongest", []), *([] if unit_id is None else [unit_id])]
        unit_segments.choose_units(strongest, wanted, required_node(self.head, "labels"))
        self.head.SetAttribute(_HIGHLIGHTED, "" if unit_id is None else str(unit_id))
        self._describe(strongest)
        unit_segments.emphasise(strongest, unit_id)

    @property
    def highlighted(self) -> int | None:
        """The unit that stands out, or None."""
        kept = self.head.GetAttribute(_HIGHLIGHTED)
        return int(kept) if kept else None

    def unit_centre(self, unit_id: int) -> NDArray[np.float64]:
        """(3,) the world's RAS in mm of a voxel centre inside the unit, the nearest to its centroid.

        Raises:
            InvalidRequest: there is no such unit, or it is so small that no voxel of the CT belongs to it.
        """
        self._require_scene()
        self._place_of(unit_id)
        return centre_of_unit(required_node(self.head, "labels"), unit_id)

    def remove(self) -> None:
        """Takes this run's nodes and folder out of the scene; nothing of the user's."""
        if self.is_in_scene:
            remove_nodes(self.head)

    # within

    def _show_map(self, units: UnitAnswers, answer: Answer, scale: ColourScale, *, keep_user_window: bool) -> None:
        if (colours := node_of(self.head, "unit_colours")) is not None:
            importance_map.colour_units(colours, units, answer, scale)
        labels = node_of(self.head, "labels")
        if self.overlay is None or labels is None or labels.GetImageData() is None:
            return
        if not self.has_voxel_map:
            importance_map.scale_map(self.overlay, scale, keep_user_window=keep_user_window)
            importance_map.recolour_map(self.overlay, voxels_of(labels), units.ids, answer.values)
        title = map_title(self.method, answer.target, answer.quantity, answer.unit)
        scale = importance_map.scale_of(self.overlay) or scale
        importance_map.title_legend(self.overlay, title, scale, is_percent=is_relative(self.method))

    def _scale_of(self, answer: Answer) -> ColourScale:
        return ColourScale.of(answer.values, is_signed=is_signed(self.method))

    def _show_segments(self, units: UnitAnswers, answer: Answer, strongest_ids: NDArray, scale: ColourScale) -> None:
        labels = node_of(self.head, "labels")
        if self.all_units is not None:
            unit_segments.describe_units(self.all_units, units, answer, scale)
        if self.segmentation is None or labels is None or labels.GetImageData() is None:
            return
        standing_out = [] if self.highlighted is None else [self.highlighted]
        unit_segments.choose_units(self.segmentation, [*map(int, strongest_ids), *standing_out], labels)
        unit_segments.describe_units(self.segmentation, units, answer, scale)
        if standing_out:
            unit_segments.emphasise(self.segmentation, self.highlighted)

    def _describe(self, segmentation: Any) -> None:
        if self.shown:
            units = self._units()
            answer = units.of(*self.shown)
            unit_segments.describe_units(segmentation, units, answer, self._scale_of(answer))

    def _kept_view(self) -> dict[str, Any]:
        return json.loads(self.head.GetAttribute(_SHOWN) or "{}")

    def _place_of(self, unit_id: int | None) -> None:
        if unit_id is not None and self._units().place_of(unit_id) is None:
            raise InvalidRequest(
                _("There is no unit {number} in {name}.").format(number=unit_id, name=self.name),
                _("Choose one from the table."),
            )

    def _units(self) -> UnitAnswers:
        self._require_scene()
        return stored_answers(self.head)

    def _require_scene(self) -> None:
        if not self.is_in_scene:
            raise InvalidRequest(_("The result {name} is no longer in the scene.").format(name=self.name))


def create_result(scene: Any, ct_node: Any, *, name: str, segmentations_logic: Any, colors_logic: Any) -> Result:
    """The nodes of one run, empty, in a folder under the CT in the subject hierarchy, under the CT's transform.

    Args:
        scene: vtkMRMLScene.
        ct_node: vtkMRMLScalarVolumeNode that is explained.
        name: For people; a number is added where another result has it.
        segmentations_logic: vtkSlicerSegmentationsModuleLogic.
        colors_logic: vtkSlicerColorLogic.
    """
    head = make_nodes(scene, ct_node, name)
    colours = node_of(head, "colours")
    importance_map.fill_colours(colours)
    importance_map.prepare_map(node_of(head, "map"), colours, colors_logic)
    importance_map.prepare_labels(node_of(head, "labels"), node_of(head, "unit_colours"))
    unit_segments.prepare_strongest(node_of(head, "strongest"))
    unit_table.prepare_chart(*(node_of(head, role) for role in ("chart", "raises", "lowers", "bars")))
    return Result(head, segmentations_logic)


def results_in(scene: Any) -> list[Result]:
    """Every result in the scene, also one that was loaded with it; the newest first."""
    return [Result(head) for head in reversed(heads_in(scene))]
