"""How the demo model was made. Not part of the installed package."""
