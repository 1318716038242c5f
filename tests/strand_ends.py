"""Rays at the ends of strands, where Mitsuba 3.9.1 reads past its arrays: run by a test.

Without what `tracing._curves` puts after the last strand this ends in a segmentation fault.
"""

import numpy as np

from bokehlib.extras.pathtracing import camera, shapes, tracing
from bokehlib.extras.pathtracing.world import World, matte

STRANDS = 400


def main() -> None:
    """Four pictures of strands that point at the camera; the last one fills the middle."""
    tracing.SIZE = (64, 96)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        world = World(camera.Camera(0.0, 0.0, 40.0, near=1.0, far=3.0), np.ones((4, 8, 3), "f4"))
        ends = rng.uniform((-0.6, -0.4, 1.0), (0.6, 0.4, 2.0), (STRANDS, 1, 3))
        along = np.linspace(1, 0, 8)[:, None]
        points = ends + along * (0, 0, 1) + rng.normal(0, 0.02, (STRANDS, 8, 3))
        points[-1] = (0.02, 0.01, 0.6) + along * (0.3, 0.2, 0.5)
        made = shapes.strands(points, 0.02, 0.02)
        made.radii[-1] = 0.15
        world.add(made, matte((0.5, 0.5, 0.5)))
        assert np.isfinite(tracing.light(world, 0.02, 1.0, 64, seed)).all()


if __name__ == "__main__":
    main()
