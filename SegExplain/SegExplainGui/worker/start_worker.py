"""Run SegExplain's worker in this Python: ``python start_worker.py LIBRARY_FOLDER [PRIVATE_FOLDER]``.

LIBRARY_FOLDER holds the package SegExplainLib, perhaps among others that the worker must not see. PRIVATE_FOLDER holds
packages for the worker alone, such as one that has the name of a package of Slicer's. Any Python can read this file.
"""

import json
import os
import sys

OLDEST_PYTHON = (3, 11)
USAGE_ERROR = 2


def main():  # type: ignore[no-untyped-def]
    """Serves until the end of standard input; returns the exit code."""
    if sys.version_info < OLDEST_PYTHON:
        return _refuse("needs Python 3.11 or newer, but " + sys.executable + " is " + sys.version.split()[0] + ".")
    if len(sys.argv) not in (2, 3):
        return _refuse("is started as: python start_worker.py LIBRARY_FOLDER [PRIVATE_FOLDER]")
    library = os.path.abspath(sys.argv[1])
    if not os.path.isfile(os.path.join(library, "SegExplainLib", "__init__.py")):
        return _refuse("finds no package SegExplainLib in " + library + ". Install the extension again.")
    _lead_own_group()
    _set_paths(library, sys.argv[2] if len(sys.argv) == 3 else "")
    from SegExplainLib.worker import serve

    return serve() or 0


def _refuse(reason):  # type: ignore[no-untyped-def]
    sys.stderr.write("SegExplain's worker " + reason + "\n")
    return USAGE_ERROR


def _lead_own_group():  # type: ignore[no-untyped-def]
    """Lets the parent end this process and its children as one group, and says which before anything slow begins.

    The parent may know a launcher's process only; ending that alone would leave this one running.
    """
    if hasattr(os, "setsid") and os.getpgrp() != os.getpid():
        os.setsid()
    sys.stdout.write(json.dumps({"event": "started", "data": {"pid": os.getpid()}}) + "\n")
    sys.stdout.flush()


def _set_paths(library, private):  # type: ignore[no-untyped-def]
    """Imports SegExplainLib from ``library`` alone; its modules are found through the package from then on."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if path and os.path.abspath(path) != here]
    sys.path.insert(0, library)
    import SegExplainLib  # noqa: F401

    sys.path.remove(library)
    if private and os.path.isdir(private) and os.path.abspath(private) not in sys.path:
        sys.path.insert(0, os.path.abspath(private))


if __name__ == "__main__":
    sys.exit(main())
