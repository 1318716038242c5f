"""Rivals of BokehDiff, one file each; `bokehlib.methods.load` finds them by name."""
