"""Evaluation: metrics, scores, apertures that fit, regions and classes of pixels."""
