"""The results a person looks at: tables, segments, pictures, plain words, one page.

`write_report` in `folder` writes them all. Each part is a pure function of an `Attribution` and, where it needs to know
how the run went, of `Findings`; nothing here asks which method made the importances. Read in this order:

    findings          what the page must know beyond the importances
    certainty         which signs and which orders the intervals support
    wording rounding  words and digits
    answer            the plain-words answer, and what to be careful about
    colours           one diverging scale about zero for all pictures (numpy alone)
    tables  segments  players.csv; players.seg.nrrd, named, coloured and tagged for Slicer
    planes  maps      anatomical planes through any grid; CT, contours and importances
    ranking           bars with their intervals
    trust page        how far to trust it; report.html from page.html.j2
    shap_export       the same numbers as a shap.Explanation

Nothing is imported here: take what you need from the modules.
"""
