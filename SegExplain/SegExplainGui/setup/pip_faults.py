"""What went wrong in pip, for people: its log is read, the usual reasons are known."""

import re

from slicer.i18n import tr as _

from SegExplainLib.contract import OutOfDisk, SegExplainError


class InstallationFailed(SegExplainError):
    """Packages could not be installed; nothing that was there before has changed."""


def explained(log: str) -> SegExplainError:
    """What pip's log means, and what to do about it."""
    for pattern, kind, message, hint in (
        (
            r"No space left|Errno 28|WinError 112|Disk quota",
            OutOfDisk,
            _("The disk is full: the packages could not be installed."),
            _("Free some 10 GB, then install again."),
        ),
        (
            r"WinError 206|path (is )?too long|Long Path",
            InstallationFailed,
            _("Slicer's folder has so long a name that Windows cannot hold PyTorch in it."),
            _(r"Install Slicer into a short folder, such as C:\Slicer, or choose another Python in the panel."),
        ),
        (
            r"Permission denied|Errno 13|WinError 5\b|Access is denied|externally-managed",
            InstallationFailed,
            _("You may not write into this Python's folder."),
            _("Install Slicer where you may write, or choose another Python in the panel."),
        ),
        (
            r"No module named pip\b",
            InstallationFailed,
            _("This Python has no pip."),
            _("Add it with `python -m ensurepip`, or choose another Python in the panel."),
        ),
        (
            r"resolve host|name resolution|getaddrinfo|NewConnection|Network is unreachable|ProxyError|timed out",
            InstallationFailed,
            _("The Python Package Index cannot be reached."),
            _("Check the network and the proxy settings, then install again."),
        ),
        (
            r"ResolutionImpossible|conflicting dependencies|No matching distribution",
            InstallationFailed,
            _("There is no version that fits the packages that are installed already."),
            _('Make an environment with "pip install segexplain" and choose it as "Other Python".'),
        ),
    ):
        if re.search(pattern, log, re.IGNORECASE):
            return kind(message, hint)
    lines = [line for line in log.splitlines() if line.strip()]
    return InstallationFailed(
        _("The installation failed: {reason}").format(reason=lines[-1].strip() if lines else _("pip said nothing")),
        _("See Slicer's log for what pip said, then install again or choose another Python in the panel."),
    )
