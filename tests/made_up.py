"""Made-up scores for the tests of tables, figures and files."""

from bokehlib import results, study

STAMP = {"commit": "a" * 40, "weights_sha256": "w", "data_sha256": "d", "parameters": {"n": 1}}


def rows(method="scatter", images=("s00", "s01"), blurs=(0, 2), radii=(0,), **metrics):
    values = {"psnr": 30.0, "ssim": 0.9, "lpips_alex": 0.1, "lpips_squeeze": 0.1} | metrics
    key = {"dataset": "synbokeh-mini", "method": method}
    return [
        key | {"image": image, "blur": blur, "perturbation": radius, "seconds": 0.5} | values
        for image in images
        for blur in blurs
        for radius in radii
    ]


def write(root, made, stamp=STAMP, part="exact"):
    return results.write_scores(made, stamp, "synbokeh-mini", made[0]["method"], part, root)


def fill(root):
    """Scores of all embedded methods, exact and perturbed."""
    for shift, method in enumerate(study.EMBEDDED):
        write(root, rows(method, blurs=range(4), psnr=25.0 + shift, ssim=0.9))
        for radius in (-2, 2):
            write(root, rows(method, blurs=(2,), radii=(radius,), psnr=24.0), part="perturbed")
