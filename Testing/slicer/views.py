"""Slice and 3D views drawn off screen, as Slicer's own views are, without Qt.

slicer-core has everything that draws: a view's logic, the displayable managers that put nodes into a renderer.
`SliceView` and `View3D` join them with a render window. Keep a view until the picture is taken; it holds the OpenGL
context. Importing this module skips a test module where nothing can be drawn.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import off_screen
import slicer
from numpy.typing import NDArray
from PIL import Image
from slicer_application import Application
from vtk import (
    vtkActor2D,
    vtkImageMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkRenderWindowInteractor,
    vtkWindowToImageFilter,
)
from vtk.util.numpy_support import vtk_to_numpy

off_screen.need_opengl()

IN_SLICES = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
IN_3D = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)


class _View:
    """A render window with a renderer, off screen.

    Attributes:
        node: vtkMRMLSliceNode or vtkMRMLViewNode.
    """

    node: Any

    def __init__(self, size: tuple[int, int], background: Sequence[float]) -> None:
        self.size = size
        self._renderer, self._window = vtkRenderer(), vtkRenderWindow()
        self._renderer.SetBackground(*background)
        self._window.SetOffScreenRendering(True)
        self._window.SetMultiSamples(0)
        self._window.SetSize(*size)
        self._window.AddRenderer(self._renderer)
        self._interactor = vtkRenderWindowInteractor()  # legends and markups are widgets, which need one
        self._interactor.SetRenderWindow(self._window)

    def _draw_with(self, factory_class: Any, names: Sequence[str], application: Application) -> None:
        factory = factory_class.GetInstance()
        factory.SetMRMLApplicationLogic(application.logic)
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.SetRenderer(self._renderer)
        self._managers.Initialize(factory, self._renderer)
        self._managers.SetMRMLDisplayableNode(self.node)

    def pixels(self) -> NDArray[np.uint8]:
        """(height, width, 3) what is seen, the top row first."""
        self._window.Render()
        grabber = vtkWindowToImageFilter()
        grabber.SetInput(self._window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()

    def save(self, path: Path) -> NDArray[np.uint8]:
        """Writes what is seen as PNG, and gives it as `pixels`."""
        pixels = self.pixels()
        Image.fromarray(pixels).save(path, optimize=True)
        return pixels


class SliceView(_View):
    """A slice view such as Red.

    Args:
        application: Whose scene is shown.
        name: Of the view; each needs its own.
        orientation: "Axial", "Coronal" or "Sagittal".
        size: Width and height in pixels.
    """

    def __init__(self, application: Application, name: str, orientation: str, *, size=(512, 512)) -> None:
        super().__init__(size, (0, 0, 0))
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        self._actor = vtkActor2D()
        mapper = vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        self._actor.SetMapper(mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(self._actor)  # before the managers' actors, or they blend over black
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application.logic)
        self._logic.SetMRMLScene(application.scene)
        application.logic.GetSliceLogics().AddItem(self._logic)
        self.node = self._logic.AddSliceNode(name)
        self._draw_with(slicer.vtkMRMLSliceViewDisplayableManagerFactory, IN_SLICES, application)
        self.node.SetOrientation(orientation)

    @property
    def composite(self) -> Any:
        """vtkMRMLSliceCompositeNode: which volumes are shown, and how clear."""
        return self._logic.GetSliceCompositeNode()

    def look_at(self, ras_mm: Sequence[float], *, field_mm: float = 0.0) -> None:
        """Goes through a point, with the whole background volume in view, or ``field_mm`` across around the point."""
        self._logic.ResizeSliceNode(*self.size)
        self._logic.FitSliceToBackground()
        if field_mm:
            width, height = self.size
            depth = self.node.GetFieldOfView()[2]
            self.node.SetFieldOfView(field_mm, field_mm * height / width, depth)
            self.node.JumpSliceByCentering(*ras_mm)
        else:
            self.node.JumpSliceByOffsetting(*ras_mm)
        self._actor.GetMapper().SetInputConnection(self._logic.GetImageDataConnection())

    def pixel_of(self, ras_mm: Sequence[float]) -> tuple[int, int]:
        """Row and column in `pixels` of a point in the slice."""
        to_ras = self.node.GetXYToRAS()
        inverse = np.linalg.inv([[to_ras.GetElement(row, column) for column in range(4)] for row in range(4)])
        x, y = (inverse @ [*ras_mm, 1.0])[:2]
        return self.size[1] - 1 - round(y), round(x)


class View3D(_View):
    """A 3D view.

    Args:
        application: Whose scene is shown.
        name: Of the view; each needs its own.
        size: Width and height in pixels.
    """

    def __init__(self, application: Application, name: str = "1", *, size=(512, 512)) -> None:
        super().__init__(size, (1.0, 1.0, 1.0))
        self._renderer.SetUseDepthPeeling(True)
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(application.logic)
        self._logic.SetMRMLScene(application.scene)
        application.logic.GetViewLogics().AddItem(self._logic)
        self.node = self._logic.AddViewNode(name)
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self._draw_with(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, IN_3D, application)

    def look_from(self, direction: int) -> None:
        """Turns the camera, e.g. to vtkMRMLCameraNode.Anterior, with everything in view."""
        manager = self._managers.GetDisplayableManagerByClassName("vtkMRMLCameraDisplayableManager")
        self._window.Render()
        self._renderer.ResetCamera()
        manager.GetCameraNode().RotateTo(direction)
        self._renderer.ResetCamera()
        self._renderer.ResetCameraClippingRange()
