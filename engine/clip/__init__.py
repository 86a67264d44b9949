"""The clip as every stage after the cameras sees it: track, work grid, views, and how the grids lie on each other."""
