"""Every answer of a run in one table node, so that a scene that is loaded again can show each of them at once."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from slicer.i18n import tr as _
from vtk import vtkStringArray, vtkTable
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from SegExplainGui.scene.unit_answers import Answer, UnitAnswers
from SegExplainLib.contract import InvalidRequest

_QUESTIONS, _NAMES = "SegExplain.Questions", "SegExplain.Names"


def store_answers(node: Any, units: UnitAnswers) -> None:
    """Writes everything into a vtkMRMLTableNode: a row for each unit, two columns for each answer.

    A table's file keeps six significant digits, a hundred times finer than any error bar.
    """
    table, questions = vtkTable(), []
    table.AddColumn(number_column("id", units.ids.astype(np.int32)))
    table.AddColumn(text_column("name", units.names))
    table.AddColumn(number_column("volume_ml", units.volumes_ml))
    for answer in units.answers:
        heading = _heading(answer.target, answer.quantity)
        table.AddColumn(number_column(f"{heading}: value", answer.values))
        table.AddColumn(number_column(f"{heading}: standard error", answer.standard_errors))
        questions.append(
            {
                "target": answer.target,
                "quantity": answer.quantity,
                "unit": answer.unit,
                "interval_factor": answer.interval_factor,
                "empty_value": answer.empty_value,
                "full_value": answer.full_value,
            }
        )
    was_modifying = node.StartModify()
    node.SetAndObserveTable(table)
    node.SetAttribute(_QUESTIONS, json.dumps(questions))
    node.SetAttribute(_NAMES, json.dumps(units.names))
    node.EndModify(was_modifying)


def stored_answers(node: Any) -> UnitAnswers:
    """What `store_answers` wrote.

    Raises:
        InvalidRequest: nothing is stored yet, or a user has changed the table.
    """
    table, questions = node.GetTable(), json.loads(node.GetAttribute(_QUESTIONS) or "[]")
    if not questions:
        raise InvalidRequest(_("There is no answer yet."), _("Wait for the first interim result."))
    try:
        return UnitAnswers(
            ids=vtk_to_numpy(table.GetColumnByName("id")).astype(np.int64),
            names=tuple(json.loads(node.GetAttribute(_NAMES))),
            volumes_ml=vtk_to_numpy(table.GetColumnByName("volume_ml")),
            answers=tuple(_answer(table, question) for question in questions),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidRequest(
            _("The table {name}, which holds the answers, was changed.").format(name=node.GetName()),
            _("Load the results folder again, or explain again."),
        ) from error


def number_column(name: str, values: np.ndarray) -> Any:
    """A column with a copy of ``values``."""
    column = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
    column.SetName(name)
    return column


def text_column(name: str, texts: Sequence[str]) -> Any:
    """A column of texts, with single quotes for double ones, for whose sake a table's file would lose letters."""
    column = vtkStringArray()
    column.SetName(name)
    for text in texts:
        column.InsertNextValue(_without_quotes(text))
    return column


def _answer(table: Any, question: dict[str, Any]) -> Answer:
    heading = _heading(question["target"], question["quantity"])
    values, errors = (vtk_to_numpy(table.GetColumnByName(f"{heading}: {what}")) for what in ("value", "standard error"))
    return Answer(values=values, standard_errors=errors, **question)


def _heading(target: str, quantity: str) -> str:
    return _without_quotes(f"{target}, {quantity}")


def _without_quotes(text: str) -> str:
    return text.replace('"', "'")
