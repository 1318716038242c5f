"""PSNR, SSIM, LPIPS and DISTS of a picture against the truth.

All are measured on float pictures clamped to [0, 1] (not rounded to 8 bits), batch size 1. SSIM is
torchmetrics': an 11 x 11 Gaussian window of sigma 1.5, the picture padded by reflection, the mean
over all pixels and channels. LPIPS is v0.1 and its column names the net.
"""

import torch

from bokehlib.io.pretrained import MissingBackbone, dists_network, lpips_network

METRICS = ("psnr", "ssim", "lpips_alex", "lpips_squeeze", "lpips_vgg", "dists")
SMALLEST_SIDE = {  # px; below it a metric is not defined
    "psnr": 1,
    "ssim": 11,
    "lpips_alex": 31,
    "lpips_squeeze": 17,
    "lpips_vgg": 16,
    "dists": 16,
}


class Measure:
    """All metrics that this machine can compute.

    Attributes:
        names: Those it can, in the order of `METRICS`.
        missing: Name -> why it cannot.
        device: Where the networks are.
    """

    def __init__(self, device: str | torch.device = "cpu", networks: bool = True) -> None:
        """Load the networks onto a device, unless PSNR and SSIM are enough."""
        self.device = torch.device(device)
        self.missing: dict[str, str] = {}
        self._networks: dict[str, torch.nn.Module] = {}
        for name in METRICS[2:] if networks else ():
            try:
                network = dists_network() if name == "dists" else lpips_network(name[6:])
            except MissingBackbone as error:
                self.missing[name] = str(error)
            else:
                self._networks[name] = network.to(self.device)
        self.names = tuple(
            name for name in METRICS if name in self._networks or name in METRICS[:2]
        )

    @torch.inference_mode()
    def __call__(self, prediction: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
        """Compare one picture with the truth.

        Args:
            prediction: (1, 3, H, W), clamped to [0, 1] here.
            target: (1, 3, H, W), likewise.

        Returns:
            Metric -> value: PSNR in dB (inf for equal pictures), SSIM (1 = equal), distances
            (0 = equal). A metric whose `SMALLEST_SIDE` exceeds the picture is left out.

        Raises:
            ValueError: The shapes differ or are not (1, 3, H, W), or the prediction is not finite.
        """
        if prediction.shape != target.shape or prediction.shape[:2] != (1, 3):
            found = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
            raise ValueError(f"prediction and target: found {found}; accepted: equal (1, 3, H, W)")
        if not prediction.isfinite().all():
            raise ValueError("prediction: found NaN or infinite values; accepted: [0, 1]")
        prediction, target = (
            image.to(self.device, torch.float32).clamp(0, 1) for image in (prediction, target)
        )
        side = min(target.shape[-2:])
        return {
            name: self._one(name, prediction, target)
            for name in self.names
            if side >= SMALLEST_SIDE[name]
        }

    def _one(self, name: str, prediction: torch.Tensor, target: torch.Tensor) -> float:
        from torchmetrics.functional import image  # seconds to import: not for rendering alone

        if name == "psnr":
            return float(image.peak_signal_noise_ratio(prediction, target, data_range=1.0))
        if name == "ssim":
            similarity = image.structural_similarity_index_measure
            return float(similarity(prediction, target, data_range=1.0))
        if name == "dists":
            return float(self._networks[name](prediction, target))
        return float(self._networks[name](2 * prediction - 1, 2 * target - 1))
