"""A pass of a path-traced picture whose process may die: in a module that starts fast."""

import os
import signal

import numpy as np

from bokehlib.extras.pathtracing import jobs

TRIES = 2
DEATHS = {"sharp": 1, "far_1": TRIES}  # attempts at a picture's passes that die


def render_pass(plan, scene, picture, which, number, attempt):
    if attempt < DEATHS.get(picture, 0):
        os.kill(os.getpid(), signal.SIGSEGV)
    light = np.full((4, 6, 3), 0.1 * which + 0.001 * attempt, dtype=np.float32)
    jobs._save(plan.out / scene / jobs._name(picture, which, number), light)
    return 0.01
