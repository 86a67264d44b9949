"""What is known about the camera before anything is solved: given cameras, followed points, the lens."""
