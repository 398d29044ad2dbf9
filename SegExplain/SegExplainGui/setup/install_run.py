"""One installation of packages, which ends once, however it ends."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from slicer.i18n import tr as _

from SegExplainGui.desktop import Desktop
from SegExplainGui.services import Failure
from SegExplainGui.setup import dependencies, installation
from SegExplainGui.setup.app_folders import private_folder
from SegExplainLib.contract import SegExplainError

LOG = logging.getLogger(__name__)


class InstallRun:
    """An installation under way, or about to be.

    Args:
        missing: Packages.
        desktop: Asks the user, and keeps the application alive.
        python: The user's choice for the worker; empty: find one.
        data: Folder of what SegExplain keeps; None is the user's.
        end_worker: Windows cannot replace files that a worker has open.
        on_text: Gets lines on how it goes.
        on_end: Gets the failure, or None; called once, last.

    Attributes:
        is_active: Whether it has not ended.
    """

    def __init__(
        self,
        missing: Sequence[str],
        desktop: Desktop,
        *,
        python: str,
        data: Path | None,
        end_worker: Callable[[], None],
        on_text: Callable[[str], None],
        on_end: Callable[[Failure | None], None],
    ) -> None:
        self._missing, self._desktop, self._python, self._data = missing, desktop, python, data
        self._end_worker, self._on_text, self._on_end = end_worker, on_text, on_end
        self._is_cancelled = False
        self.is_active = True

    def cancel(self) -> None:
        """Asks to stop."""
        self._is_cancelled = True

    def start(self) -> None:
        """Installs, after asking the user; comes back when all is done."""
        failure = None
        try:
            self._end_worker()
            is_done = installation.install(
                self._missing,
                dependencies.find_python(self._python),
                private=private_folder(self._data),
                confirm=self._desktop.confirm,
                say=self._on_text,
                is_cancelled=lambda: self._is_cancelled,
                stay_responsive=self._desktop.stay_responsive,
            )
            if not is_done:
                failure = Failure(message=_("Nothing was installed."), kind="Cancelled")
        except SegExplainError as error:
            failure = Failure.of_error(error)
        except Exception as error:  # whatever it is: an installation that never ends would lock the panel
            LOG.exception("The installation failed.")
            failure = Failure.of_unexpected(error)
        finally:
            self.is_active = False
        self._on_end(failure)
