"""Does the camera read its rows one after another (a rolling shutter)?"""

from __future__ import annotations

import numpy as np
import pycolmap

from engine.poses.judge import pixels_in


def readout_share(model: pycolmap.Reconstruction) -> tuple[float, float]:
    """How late the last row is against the first, as far as the adjusted cameras have not taken it over.

    With a rolling shutter what is seen in the lower rows is seen later, so that it lies ahead of where the camera of
    the frame sends it, by its speed times the delay of its row (Hedborg et al., Rolling Shutter Bundle Adjustment,
    CVPR 2012, section 3). Adjustment turns and stretches cameras so that part of that vanishes; the rest is what is
    regressed here.

    Args:
        model: adjusted cameras and points; images are numbered in the order of the frames.

    Returns:
        (delay over the time between two frames, share of the residuals' variance that it explains).
    """
    speeds, residuals, pixels = [], [], pixels_in(model)
    for _, point in sorted(model.points3D.items()):
        seen = {e.image_id: e.point2D_idx for e in point.track.elements}
        for image_id, index in seen.items():
            if image_id - 1 not in seen or image_id + 1 not in seen:
                continue
            image = model.image(image_id)
            before, after = (pixels[i][seen[i]] for i in (image_id - 1, image_id + 1))
            predicted = image.project_point(point.xyz)
            if predicted is None:
                continue
            here = pixels[image_id][index]
            speeds.append((after - before) / 2.0 * (here[1] / image.camera.height - 0.5))
            residuals.append(here - predicted)
    if len(speeds) < 100:
        return 0.0, 0.0
    x, y = np.concatenate(speeds), np.concatenate(residuals)
    inlying = np.abs(y) < 4.0 * np.median(np.abs(y)) + 1e-9
    x, y = x[inlying], y[inlying]
    delay = float(x @ y / max(float(x @ x), 1e-12))
    return delay, float(1.0 - ((y - delay * x) ** 2).sum() / max(float((y**2).sum()), 1e-12))
