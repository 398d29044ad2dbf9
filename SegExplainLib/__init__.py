"""SegExplain: why did the network label this here?

The package, from the top of the import order down::

    __main__  cli  worker      how a job is started: a shell, Slicer, a job folder
    pipeline                   explain(): the whole story, top to bottom
    report/                    tables, maps, plots, the page a clinician reads
    attribution                importances on units and on voxels
    game                       coalitions -> values: removal + tiles + target
    removal  target            what "absent" looks like; what number is explained
    case                       CT + ROI + network -> PreparedCase
    model/  players/  shapley/ the network and its tiles; who plays; the estimators
    volume  phantom            voxels with a place in the patient; a synthetic torso
    contract  progress         requests, results, events, errors (standard library only)

Importing this package imports nothing else.
"""

__version__ = "0.1.0"
