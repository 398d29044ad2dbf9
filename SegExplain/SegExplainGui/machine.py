"""What the user chose on this machine, kept in Slicer's settings and not in the scene."""

import json

import qt

N_RECENT_MODELS = 6


class Machine:
    """Choices under ``SegExplain/`` in the application's settings; each is written when it is set."""

    def __init__(self) -> None:
        self._settings = qt.QSettings()

    @property
    def python(self) -> str:
        """Python of the worker; empty: find one."""
        return self._text("python")

    @python.setter
    def python(self, path: str) -> None:
        self._settings.setValue("SegExplain/python", path)

    @property
    def device(self) -> str:
        """As in ``ExplainRequest.device``."""
        return self._text("device") or "auto"

    @device.setter
    def device(self, device: str) -> None:
        self._settings.setValue("SegExplain/device", device)

    @property
    def model(self) -> str:
        """The model chosen last; empty when none was."""
        return self._text("model")

    @model.setter
    def model(self, model: str) -> None:
        self._settings.setValue("SegExplain/model", model)

    @property
    def recent_models(self) -> list[str]:
        """Folders of models that the user chose, the newest first."""
        try:
            kept = json.loads(self._text("recentModels") or "[]")
        except ValueError:  # edited by hand
            return []
        return [folder for folder in kept if isinstance(folder, str)]

    def remember_model(self, folder: str) -> None:
        """Puts a folder in front of the recent ones."""
        kept = [folder, *(other for other in self.recent_models if other != folder)][:N_RECENT_MODELS]
        self._settings.setValue("SegExplain/recentModels", json.dumps(kept))

    @property
    def results_folder(self) -> str:
        """Where something was saved or loaded last; empty at first."""
        return self._text("resultsFolder")

    @results_folder.setter
    def results_folder(self, folder: str) -> None:
        self._settings.setValue("SegExplain/resultsFolder", folder)

    def _text(self, key: str) -> str:
        return str(self._settings.value(f"SegExplain/{key}", "") or "")
