"""Who takes part in the game: organs, FCC supervoxels, or organs cut along supervoxels."""
