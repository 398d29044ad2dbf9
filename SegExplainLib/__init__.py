"""SegExplain: why did the network label this here?

The package, from the top of the import order down::

    __main__  cli              how a job is started: a shell
    worker  job_folder         commands over standard input, for Slicer; request.json in, results/ out
    preview  forecast          what an explanation will take, before it
    pipeline                   explain(): the whole story, top to bottom
    question  play             a request becomes a case with players; an estimator plays its game
    question_keys              what each stage of a question depends on
    results_folder             a finished run as a folder; partial_results: of a run under way
    answers                    every class and value function of one game
    report/  game_record       tables, maps, plots, the page a clinician reads; a game on disk
    gradient_record            a gradient run under way on disk; baseline_record: the baseline that was found for it
    attribution  game          importances on units; coalitions -> values: removal + tiles + target
    gradients/                 voxel maps from derivatives of the stitched prediction, at one tile's memory
    removal  target            what "absent" looks like; what number is explained
    case  roi  peer_shapley    CT + ROI + network -> PreparedCase; shap's and captum's estimators
    model/  players/  shapley/ the network and its tiles; who plays; the estimators
    organ_map  volume_io       organ label maps; reading and writing
    images/  phantom/  volume  files from outside; a synthetic torso; voxels with a place in the patient
    warm  record_file          what one question leaves for the next; what an interrupted run leaves on disk
    progress  atomic  contract requests, results, events, errors, whole files (standard library only)

Importing this package imports nothing else.
"""

__version__ = "0.1.0"
