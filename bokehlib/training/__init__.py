"""Training: loop, losses (Eq. 10 to 12), prior, BokehDiff, disparity refiner, baselines."""
