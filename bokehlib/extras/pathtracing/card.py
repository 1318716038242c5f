"""The card of the data set: how it was made, what was checked, the noise of every picture."""

from typing import Any

from bokehlib.extras.pathtracing.camera import FOCUSES, RADII
from bokehlib.extras.pathtracing.jobs import FLOOR, SHARP

_HEAD = """# Path-traced scenes

{count} scenes of hair, wire, leaves, glass, letters, slanted floors and lamps, rendered by Mitsuba
{mitsuba} (`scalar_rgb`) through a thin lens: {size[1]}x{size[0]} pixels, two focus distances, three
lens openings whose largest blur is {radii} px. Nothing here is a layer: what a
lens sees past a strand, on a slanted floor or in a mirror of glass is traced.

Everything is drawn from seed {seed}, textures too; no photograph is in it. Apache-2.0, as the code.

```
python -m bokehlib.extras.pathtracing render --out ORIGINALS --cores 32  # needs [render]
python -m bokehlib.extras.pathtracing pack ORIGINALS --out bokehlib/data/rendered
python -m bokehlib.extras.pathtracing export ORIGINALS --out FOLDER --layout exr  # or blb
```

## How it was made

- The input is the same scene through a pinhole, under the same light. Both are clipped to [0, 1]
  and encoded with gamma 2.2, so lamps are brighter than the input can show (`clipped`: the share
  of such pixels).
- Disparity is nearest/z of the first surface in the middle of each pixel (glass counts as a
  surface), z along the optical axis, 0 where there is nothing, in steps of {step}/65535.
- A lens of radius R focused on f blurs a point by K |1/z - 1/f| px, K = R W / (2 tan(fov/2)). The
  disparity is an affine map of 1/z, so this is exactly `aperture * |disparity - focus|`.
- Light is sampled {samples} times a pixel and pass, stratified over pixel and lens; in scenes with
  lamps, light straight from lamps and sky {emitted} times as often and apart. Paths have up to
  {segments} segments. No denoiser, and no sample was clipped.
- Each picture is the mean of two halves with other seeds. The noise floor is the PSNR of that mean
  against a noiseless picture, in the encoded picture: a quarter of the mean squared difference of
  the halves. The noisiest picture is always given the next pass, until each has {wanted:g} dB.
- Kept as AVIF 4:4:4 of 8 bits (`encoding`: the PSNR of what is read back against the original,
  rounding to 8 bits included).

## Noise floor, dB (lowest {floor:.2f}) and encoding error, dB (lowest {encoding:.2f})

"""


def text(manifest: dict[str, Any]) -> str:
    """The card in Markdown, from the manifest alone."""
    scenes = manifest["scenes"]
    names = [SHARP, *(f"{focus}_{level}" for focus in FOCUSES for level in range(len(RADII)))]
    every = [entry[key].values() for key in ("noise_floor_db", "encoding_db") for entry in scenes]
    half = len(scenes)
    head = _HEAD.format(
        count=len(scenes),
        mitsuba=manifest["mitsuba"],
        size=manifest["size"],
        radii=", ".join(f"{radius:g}" for radius in manifest["radii"]),
        seed=manifest["seed"],
        step=17,
        samples=manifest["samples_a_pass"],
        emitted=manifest["emitted_factor"],
        wanted=FLOOR,
        segments=max(entry["path_segments"] for entry in scenes),
        floor=min(min(values) for values in every[:half]),
        encoding=min(min(values) for values in every[half:]),
    )
    rows = [f"| scene | passes a half | {' | '.join(names)} | encoding | clipped |"]
    rows.append("|---|---|" + "---|" * (len(names) + 2))
    for entry in scenes:
        passes = entry["passes"].values()
        floors = " | ".join(f"{entry['noise_floor_db'][name]:.1f}" for name in names)
        encoding = f"{min(entry['encoding_db'].values()):.1f}"
        clipped = f"{100 * entry['clipped'][SHARP]:.1f} %"
        span = f"{min(passes)} to {max(passes)}"
        rows.append(f"| {entry['name']} | {span} | {floors} | {encoding} | {clipped} |")
    return head + "\n".join(rows) + "\n"
