"""The network as a black box that labels tiles, and how tiles become one prediction."""
