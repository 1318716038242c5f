"""Foregrounds that a diffusion model paints: what it is asked for (Sec. 3.3)."""

FOREGROUND_PROMPTS = (  # hair, leaves, glass and holes: what a lens makes hard
    "a woman with windblown curly hair, portrait photo, waist up",
    "a man with a beard in a knitted sweater, portrait photo, waist up",
    "a girl with braided hair, studio photo",
    "a dancer in a tulle skirt, full body photo",
    "a long-haired cat sitting, photo",
    "a shaggy dog, photo",
    "a parrot on a branch, photo",
    "a horse with a flowing mane, photo",
    "a dandelion seed head, macro photo",
    "a fern leaf, photo",
    "a branch of cherry blossom, photo",
    "a potted palm, photo",
    "a bunch of dried grass, photo",
    "a bicycle, photo from the side",
    "a wicker basket, photo",
    "a birdcage of thin wire, photo",
    "a wine glass, photo",
    "a glass bottle, photo",
    "a chandelier, photo",
    "a fishing net on a stick, photo",
)
FOREGROUND_NEGATIVE = "drawing, painting, text, watermark, blurry, cropped, several views"
