"""The panel's sections, one file each, and their small parts. Qt, no MRML beyond selectors."""
