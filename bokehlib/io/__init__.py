"""Files: photos, disparity maps, series, weights; errors and processes. No torch at import."""
