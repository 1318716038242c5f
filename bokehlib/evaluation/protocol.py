"""What is measured: wrong disparities, lenses, regions and classes. No torch."""

ROBUSTNESS_RADII = (-8, -4, -2, 0, 2, 4, 8)  # px; negative erodes, positive dilates the disparity
ROBUSTNESS_DISTURBANCES = {  # of `disturb.DISTURBANCES` -> label in Fig. 7
    "strands": "strands missing",
    "smoothed": "smoothed edges",
    "coarse": "1/8 resolution",
    "gamma": "to the power 1.5",
}
ROBUSTNESS_BLUR = 2  # the one lens of each scene that the robustness curve uses
SWEEP_RADII = (2, 3, 4, 6, 8, 12, 16, 24, 32, 40)  # px, asked for in the radius sweep
FOCUS_APERTURE = 60.0  # px per unit of disparity, over photographs that are wholly in focus
FOCUS_REGIONS = {  # where sharpness is measured -> column of the table
    "constant": "constant",
    "in focus": "in_focus",
    "in focus, 2 px inside": "in_focus_inside",
    "under near blur": "under_near_blur",
    "blurred": "blurred",
}
ORIGINS = ("in focus", "smooth blur", "visible edge", "hidden background")  # of a pixel's light
ORIGIN_SHARE = 0.05  # of a pixel's light; less of it does not decide the origin
FROM_THE_PRIOR = ORIGINS[2:]  # where a prior is credited for what it gains

STRAND_ERRORS = {  # of the disparity, where the band about strands is measured -> column
    "0": "exact",
    "-4": "eroded_4",
    "4": "dilated_4",
    **{name: name for name in ROBUSTNESS_DISTURBANCES},
}
