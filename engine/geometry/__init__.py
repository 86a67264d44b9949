"""Every geometric convention of the project, once: in numpy (`arrays`) and in torch (`tensors`).

Camera axes: x right, y down, z forward. Pixels: the image spans [0, W] x [0, H], the centre of the top-left pixel is
(0.5, 0.5). Depth: planar z. Transforms are named `a_from_b`, are 4x4 and act on column vectors.
"""
