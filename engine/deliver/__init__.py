"""A finished solve for other programs: depth and geometry passes, cameras, points, lens, and a text that says how."""
