"""Reading images that come from outside, one kind a file.

::

    file                      NIfTI, NRRD, MetaImage: voxels, grid and tags of one file
    dicom_series              a folder with the slices of one DICOM series
    label_names               what the numbers of a label map mean
    totalsegmentator_labels   the table of TotalSegmentator's task "total"
"""
