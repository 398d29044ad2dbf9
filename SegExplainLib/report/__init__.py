"""The results a person looks at: tables, segments, pictures, plain words, one page.

`write_report` in `folder` writes them all. Each part is a pure function of an `Attribution` and, where it needs to know
how the run went, of `Findings`. What differs between methods, their words, signs and scale, stands in `methods` and
`shown`. Read in this order:

    findings          what the page must know beyond the importances
    methods  shown    words for each method; percent where only ratios mean something, and which colours
    certainty         which signs and which orders the intervals support
    wording rounding  words and digits
    phrases answer    the plain-words answer, and what to be careful about
    gradient_answer   the same for methods that take gradients
    colours           a diverging scale for values of either sign, a sequential one for others (numpy alone)
    tables  segments  players.csv; players.seg.nrrd, named, coloured and tagged for Slicer
    planes  maps      anatomical planes through any grid; CT, contours and importances, with a colour_bar
    ranking           bars with their intervals
    trust page        how far to trust it; report.html from page.html.j2
    shap_export       the same numbers as a shap.Explanation

Nothing is imported here: take what you need from the modules.
"""
