"""How BokehDiff is trained. Every default is the paper's; an ablation is one line."""

from dataclasses import replace

from bokehlib.bokehdiff.config import AS_PUBLISHED, FULL, LossWeights, Recipe

ABLATIONS = {  # the order is the row order of Table 2
    "no_adv": replace(FULL, weights=replace(FULL.weights, adversarial=0.0)),
    "no_vgg": replace(FULL, weights=replace(FULL.weights, perceptual=0.0)),
    "no_edge": replace(FULL, weights=replace(FULL.weights, edge=0.0)),
    "fixed_encoder": replace(FULL, encoder="fixed"),
    "no_coc": replace(FULL, pisa=replace(FULL.pisa, coc=False)),
    "no_softmax_q": replace(FULL, pisa=replace(FULL.pisa, normalise="keys")),
    "no_occlusion": replace(FULL, pisa=replace(FULL.pisa, occlusion=False)),
    "t249": replace(FULL, timestep=249),
    "t749": replace(FULL, timestep=749),
    "full": FULL,
}
ABLATION_LABELS = {  # as printed in Table 2
    "no_adv": "w/o Ladv",
    "no_vgg": "w/o LVGG",
    "no_edge": "w/o Ledge",
    "fixed_encoder": "fixed E",
    "no_coc": "w/o CoC",
    "no_softmax_q": "w/o SoftmaxQ",
    "no_occlusion": "w/o occlusion",
    "t249": "T = 249",
    "t749": "T = 749",
    "full": "Complete model",
}

# The paper's model on the embedded prior. Rank 8 on the down blocks of so small a network is the
# limit, no VGG16 comes with the installation, and the weights were trained before the adversarial
# term was there: rank 16 on every block, a faster start, SqueezeNet, and more weight on the MSE.
MINI_PAPER = replace(
    FULL,
    weights=LossWeights(mse=20.0, perceptual=1.0, edge=1.0, adversarial=0.0),
    rank=16,
    lora_blocks=("down_blocks", "mid_block", "up_blocks", "conv_in", "conv_out"),
    learning_rate=8e-4,
    warmup_steps=100,
    batch_size=16,
    steps=1_461,  # what six minutes of one GPU gave
    perceptual_net="squeeze",
)
_CHANNELS = replace(MINI_PAPER, optics_channels=True)

# The default: it refines the disparity, and corrects the layered render near outlines. The
# autoencoder's loss cancels, so the encoder needs no training; half of its disparities were wrong.
MINI = replace(
    _CHANNELS,
    classical=True,
    detail=True,
    refined=True,
    encoder="fixed",
    disturbed=4.0,
    learning_rate=1e-3,
    batch_size=32,
    steps=4_000,
)
BASELINE = replace(MINI, refined=False)  # a baseline renders from the disparity as it is

BEYOND = {  # what the paper does not have, each against "mini_paper": the rows of Table 2c
    "mini_rank8": replace(MINI_PAPER, rank=8),
    "mini_rank32": replace(MINI_PAPER, rank=32),
    "mini_whole": replace(MINI_PAPER, whole=True),
    "mini_detail": replace(MINI_PAPER, detail=True),
    "mini_channels": _CHANNELS,
    "mini_thin_lens": replace(MINI_PAPER, pisa=replace(MINI_PAPER.pisa, visibility="thin_lens")),
    "mini_fine": replace(MINI_PAPER, fine=True),
    "mini_fine_plain": replace(  # as many layers, without PISA in the new ones
        MINI_PAPER,
        fine=True,
        pisa=replace(MINI_PAPER.pisa, sites=("down_blocks.1.", "down_blocks.2.")),
    ),
    "mini_disturbed": replace(MINI_PAPER, disturbed=4.0),
    "mini_residual": replace(_CHANNELS, classical=True),
    "mini_confined": replace(_CHANNELS, classical=True, detail=True),
}


def _physics(**switches) -> Recipe:
    """All get the optics as channels: then a mask is not the only way to know the aperture."""
    return replace(_CHANNELS, pisa=replace(_CHANNELS.pisa, **switches))


PHYSICS = {  # the rows of Table 2b
    "physics-plain": _physics(sites=()),
    "physics-keys": _physics(normalise="keys", occlusion=False),
    "physics-no_visibility": _physics(occlusion=False),
    "physics-paper": _physics(),
    "physics-thin_lens": _physics(visibility="thin_lens"),
    "physics-thin_lens-coverage": _physics(visibility="thin_lens", divide_by_coverage=True),
}

RECIPES = {
    **ABLATIONS,
    "as_published": AS_PUBLISHED,
    "mini": MINI,
    "mini_paper": MINI_PAPER,
    **BEYOND,
    **PHYSICS,
}
