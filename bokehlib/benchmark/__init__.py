"""Time and memory of attention and of the whole model, side by side in one process on one device.

`python -m bokehlib.benchmark` writes `scores/speed-<part>.csv` and its stamp, which `44_speed` and
`45_pisa_scaling` read.
"""
