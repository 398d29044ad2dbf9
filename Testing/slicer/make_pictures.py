"""The documents' pictures of the Slicer module, from a real run on the synthetic torso; nothing is drawn by hand.

    SEGEXPLAIN_PYTHON=... python Testing/slicer/make_pictures.py [--kept FOLDER]

The panel asks the real worker as a user does. Slicer's own code draws the views, Qt the panel, with plain stand-ins for
Slicer's widgets, all off screen; so the pictures are no screenshots of the application. ``--kept`` saves the results
folder, or takes it from there when it exists, so that a second go needs no network.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "SegExplain"), str(ROOT), str(Path(__file__).parent)]
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import slicer  # noqa: E402
import slicer_desktop  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402
from PySide6 import QtCore  # noqa: E402
from test_module import load_module, open_widget  # noqa: E402
from views import SliceView, View3D  # noqa: E402

PICTURES = ROOT / "Resources" / "screenshots"
PANEL_WIDTH, PANEL_HEIGHT, WHOLE_HEIGHT, VIEW_WIDTH, BAR_HEIGHT, GAP = 460, 900, 3200, 470, 18, 2
VIEW_HEIGHT = (PANEL_HEIGHT - GAP) // 2 - BAR_HEIGHT
BAR_COLOURS = {"R": (243, 74, 51), "G": (110, 176, 75), "Y": (237, 213, 76), "1": (130, 130, 200)}
"""Slicer's own colours of its views."""
PATIENCE_S = 1200


def wait(is_done: Any) -> None:
    begin = time.monotonic()
    while not is_done():
        slicer.app.processEvents()
        time.sleep(0.02)
        if time.monotonic() - begin > PATIENCE_S:
            raise TimeoutError("The panel did not come to an end.")


def ask(widget: Any) -> Any:
    """Fills in the panel as the tutorial says; gives (CT, organs)."""
    from SegExplainGui.parameters import UnitKind
    from SegExplainGui.setup.dependencies import find_python
    from SegExplainGui.setup.sample_data import CT_NAME, load_torso, make_torso

    ct, organs = load_torso(make_torso(find_python("")), slicer.mrmlScene, volumes_logic=slicer.modules.volumes.logic())
    organs.GetDisplayNode().SetVisibility(False)
    ct.SetName(CT_NAME)
    ct.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")  # Slicer's start does it
    ui, parameters = widget.ui, widget.parameters
    wait(lambda: ui.modelSelector.count > 0 and ui.targetSelector.count > 1)
    parameters.ct, parameters.organs, parameters.target = ct, organs, "lesion"
    parameters.fit_segmentation, parameters.fit_segment = organs, "lesion"
    wait(lambda: ui.fitButton.enabled)
    ui.fitButton.click()
    parameters.units, parameters.unit_mm = UnitKind.HYBRID, 120.0
    wait(lambda: " tiles, " in ui.regionSizeLabel.text and ui.explainButton.enabled)
    return ct, organs


def explain(widget: Any, kept: Path | None) -> Any:
    """The result of a click on Explain, or of a results folder."""
    session = widget.logic.session()
    if kept is not None and kept.exists():
        result = session.load_folder(str(kept), widget.parameters)
        widget.panel._on_result(result)
        return result
    widget.ui.explainButton.click()
    wait(lambda: not session.is_busy and widget.ui.explainButton.text == "Explain")
    result = widget.panel.shown_result
    if kept is not None:
        session.save_folder(result, str(kept))
    return result


def look_at(result: Any, widget: Any, *, n_strongest: int) -> None:
    """Shows few units, and picks the lesion in the table."""
    widget.parameters.top_k = n_strongest
    slicer.app.processEvents()
    table = widget.ui.unitsTable
    row = next(row for row in range(table.rowCount) if table.item(row, 0).text() == "lesion")
    table.selectRow(row)
    widget.parameters.roi.GetDisplayNode().SetHandlesInteractive(False)  # they cover the lesion
    slicer.app.processEvents()


def check(widget: Any, path: Path) -> None:
    """The section below a result after a click on Check this explanation."""
    session, ui = widget.logic.session(), widget.ui
    wait(lambda: ui.trustButton.enabled)
    ui.trustButton.click()
    wait(lambda: not session.is_busy and ui.trustButton.enabled)
    # A panel as high as all that it holds; the section is cut from it.
    slicer_desktop.picture(widget.parent, path, width=PANEL_WIDTH, height=WHOLE_HEIGHT)
    corner = ui.trustSection.mapTo(widget.parent, QtCore.QPoint(0, 0))
    size = ui.trustSection.size
    box = (corner.x(), corner.y(), corner.x() + size.width(), corner.y() + size.height())
    Image.open(path).convert("RGB").crop(box).save(path, optimize=True)


def show_slice(view: SliceView, centre_ras_mm: Any) -> None:
    """Goes through a point, with room for the legend at the right, a ruler and the axes."""
    view.look_at(centre_ras_mm)
    node = view.node
    width, height, depth = node.GetFieldOfView()
    is_axial = node.GetName() == "Red"
    zoom, shift_mm = (1.2, 45.0) if is_axial else (1.0, 60.0)
    node.SetFieldOfView(zoom * width, zoom * height, depth)
    node.SetXYZOrigin(shift_mm, *node.GetXYZOrigin()[1:])
    node.SetOrientationMarkerType(node.OrientationMarkerTypeAxes)
    node.SetOrientationMarkerSize(node.OrientationMarkerSizeMedium)
    node.SetRulerType(node.RulerTypeThin)


def with_bar(view: Image.Image, letter: str) -> Image.Image:
    """A view below a bar of its colour, as in Slicer."""
    framed = Image.new("RGB", (view.width, view.height + BAR_HEIGHT), BAR_COLOURS[letter])
    framed.paste(view, (0, BAR_HEIGHT))
    ImageDraw.Draw(framed).text((6, 2), letter, fill="white" if letter != "Y" else "black", font_size=13)
    return framed


def composed(panel: Image.Image, views: dict[str, Image.Image]) -> Image.Image:
    """The panel beside the four views, as in Slicer's window."""
    framed = {letter: with_bar(view, letter) for letter, view in views.items()}
    width, height = next(iter(framed.values())).size
    whole = Image.new("RGB", (panel.width + 2 * (width + GAP), 2 * height + GAP), "white")
    whole.paste(panel, (0, 0))
    for place, letter in enumerate("R1GY"):
        at = panel.width + GAP + place % 2 * (width + GAP), place // 2 * (height + GAP)
        whole.paste(framed[letter], at)
    return whole.point(lambda level: min(255, 4 * round(level / 4)))  # no eye sees it, and the file is smaller


def main() -> None:
    """Writes all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kept", type=Path, help="results folder, saved or taken from there")
    parser.add_argument("--out", type=Path, default=PICTURES, help="folder of the pictures")
    arguments = parser.parse_args()
    out: Path = arguments.out
    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp()
    application = slicer_desktop.start(Path(tempfile.mkdtemp()))
    file, _instance = load_module()
    size = (VIEW_WIDTH, VIEW_HEIGHT)
    slices = {
        letter: SliceView(application, name, orientation, size=size)
        for letter, name, orientation in (("R", "Red", "Axial"), ("G", "Green", "Coronal"), ("Y", "Yellow", "Sagittal"))
    }
    view_3d = View3D(application, size=size)
    widget = open_widget(file)
    ask(widget)
    slicer_desktop.picture(widget.parent, out / "slicer_question.png", width=PANEL_WIDTH, height=650)
    result = explain(widget, arguments.kept)
    look_at(result, widget, n_strongest=6)
    for section in ("inputsSection", "regionSection", "questionSection"):
        getattr(widget.ui, section).collapsed = True
    panel = Path(tempfile.mkdtemp()) / "panel.png"
    slicer_desktop.picture(widget.parent, panel, width=PANEL_WIDTH, height=PANEL_HEIGHT)
    centre = result.unit_centre(result.highlighted)
    views = {}
    for letter, view in slices.items():
        show_slice(view, centre)
        views[letter] = Image.fromarray(view.pixels())
    result.segmentation.CreateClosedSurfaceRepresentation()
    for set_colour in (view_3d.node.SetBackgroundColor, view_3d.node.SetBackgroundColor2):
        set_colour(0.757, 0.765, 0.910)  # Slicer's light blue, plain: its gradient makes a large file
    view_3d.look_from(slicer.vtkMRMLCameraNode.Anterior)
    views["1"] = Image.fromarray(view_3d.pixels())
    composed(Image.open(panel).convert("RGB"), views).save(out / "slicer_result.png", optimize=True)
    if arguments.kept is None:  # a folder that was saved is without the CT that was explained
        check(widget, out / "slicer_trust.png")
    widget.cleanup()
    file.SegExplainLogic.forget_session()


if __name__ == "__main__":
    main()
