"""The one-step model: pipeline (Eq. 1), embedded and SDXL scale, adapters, disparity refiner."""
