"""`rendered`: scenes path-traced by Mitsuba 3 through a thin lens, the physical truth.

`camera` holds the optics, `world`, `shapes`, `textures` and `lettering` what scenes are built of,
`scenes` the scenes; `tracing` alone knows Mitsuba (extra `[render]`), which scoring does not need.
`jobs` renders all passes, `originals` keeps them, `committed` makes the data set of them.
"""

NAME = "rendered"
SIZE = (256, 384)  # px, (H, W)
SEED = 7
