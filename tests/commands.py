"""A `render` command that is right, as words, for tests that change one thing about it."""

GOOD = {
    "IMAGE": "photo.png",
    "--out": "out.png",
    "--disparity": "map.png",
    "--focus": "7,3",
    "--aperture": "4",
    "--method": "scatter",
}


def command(changes):
    """The good command with some options changed; None leaves one out, "" gives it no value."""
    options = GOOD | changes
    image = options.pop("IMAGE")
    words = ["render"] + ([] if image is None else [image])
    for option, value in options.items():
        if value is not None:
            words += [option] if value == "" else [option, value]
    return words
