"""The scene as input and output: nodes become files for the worker, its answers become nodes. MRML and VTK, no Qt."""
