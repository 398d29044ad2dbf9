"""The part of ``slicer.ScriptedLoadableModule`` that is used: the four base classes of a scripted module."""

import os
import unittest
from typing import Any

import slicer


class ScriptedLoadableModule:
    """Describes a module to Slicer."""

    def __init__(self, parent: Any) -> None:
        self.parent, self.moduleName = parent, type(self).__name__

    def resourcePath(self, name: str) -> str:
        return os.path.join(os.path.dirname(self.parent.path), "Resources", name)


class ScriptedLoadableModuleWidget:
    """A module's panel; Slicer gives the parent and calls `setup`."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent, self.developerMode = parent, False
        self.layout = parent.layout()

    def setup(self) -> None:
        pass

    def cleanup(self) -> None:
        pass

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)

    def resourcePath(self, name: str) -> str:
        module = getattr(slicer.modules, self.moduleName.lower())
        return os.path.join(os.path.dirname(module.path), "Resources", name)


class ScriptedLoadableModuleLogic:
    """Has one parameter node in each scene."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        kept = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        node = kept or slicer.mrmlScene.AddNode(self._new_parameter_node())
        node.SetAttribute("ModuleName", self.moduleName)
        return node

    def _new_parameter_node(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Runs each of its methods with "test" in the name."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)

    def delayDisplay(self, message: str, *_: Any) -> None:
        slicer.app.processEvents()
