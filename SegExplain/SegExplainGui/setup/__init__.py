"""What must be there before anything can be explained: a Python, packages, folders, sample data."""
