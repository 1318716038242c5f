"""Miniature copies of published data sets, in exactly their layouts, for the tests."""

import json
import os

import numpy as np
import OpenEXR
from PIL import Image

from bokehlib.io.images import write_image

SIZE = (48, 64)  # px
FAR, NEAR = 6.0, 2.0  # depths of a BLB scene, in its own unit
FOCUSES = (np.inf, 4.0, NEAR)  # focus distances, likewise
BLURS = (20.0, 40.0, 60.0, 80.0, 100.0)  # px per unit of 1/depth, by level
GAMMA = 2.2


def write_exr(path, channels):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, channels) as file:
        file.write(os.fspath(path))


def light(seed, size=SIZE, brightest=1.5):
    """Random linear light, half floats, brighter than white here and there."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0, brightest, (*size, 3)).astype(np.float16)


def depths(size=SIZE):
    """A near box before a far wall under a sky."""
    depth = np.full(size, FAR, np.float32)
    depth[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = NEAR
    depth[: size[0] // 8] = 65504
    return depth


def write_blb(root, scenes=("277", "280"), size=SIZE):
    """BLB with fewer scenes and focus distances, levels 4 and 5."""
    for number, scene in enumerate(scenes):
        folder = root / scene
        folder.mkdir(parents=True)
        write_exr(folder / "image.exr", {"RGB": light(number, size)})
        write_exr(folder / "depth.exr", {"Z": depths(size)})
        info = {"focus_distances": FOCUSES, "blur_parameters": BLURS}
        (folder / "info.json").write_text(json.dumps(info))
        for level in (3, 4):
            for n in range(len(FOCUSES)):
                truth = {"RGB": light(100 * number + 10 * level + n, size)}
                write_exr(folder / f"bokeh_{level:02d}_{n:02d}.exr", truth)
    return root


def subject(size=SIZE):
    """The middle of a picture, (H, W) bool."""
    box = np.zeros(size, bool)
    box[size[0] // 4 : -(size[0] // 4), size[1] // 4 : -(size[1] // 4)] = True
    return box


def pair(seed, size=SIZE, dark=0.8):
    """A detailed photo, and the truth: brighter, detail left in the subject alone."""
    rng = np.random.default_rng(seed)
    cells = rng.uniform(0.1, 0.9, (size[0] // 4, size[1] // 4, 3))
    truth = np.kron(cells, np.ones((4, 4, 1)))
    image = truth * np.array([dark, dark**2, dark])
    truth[~subject(size)] = truth.mean()
    return image, truth


def write_ebb(root, numbers=range(4690, 4694), folders=("Training/original", "Training/bokeh")):
    """EBB! with fewer pairs; disparity 0.8 for the subject, 0.2 behind, on another scale."""
    (root / "depth").mkdir(parents=True)
    for folder in folders:
        (root / folder).mkdir(parents=True)
    for number in numbers:
        for folder, picture in zip(folders, pair(number), strict=True):
            write_jpeg(root / folder / f"{number}.jpg", picture)
        raw = 3 + 5 * np.where(subject(), 0.8, 0.2)
        raw[:4], raw[-4:] = 3, 8
        np.save(root / "depth" / f"{number}_pred.npy", raw.astype(np.float32))
    return root


def write_jpeg(path, picture):
    levels = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(levels).save(path, quality=100, subsampling=0)


def write_mask(path, mask):
    write_image(path, np.repeat(mask[..., None].astype(float), 3, -1))


def truncate(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
