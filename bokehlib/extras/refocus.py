"""`python -m bokehlib refocus`: a local page where a click on a photo sets what is in focus.

The page works at `WORKING` px and prints the command that renders the same picture at full size.
The same page opens inside `notebooks/02_refocus`. No other module imports gradio.
"""

import argparse
import os
import shlex
import threading
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bokehlib import methods
from bokehlib.data.demo_photos import Photo, motorcycle
from bokehlib.io import disparity_maps, estimate, images, photographic, photos
from bokehlib.io.errors import InputError, number
from bokehlib.io.map_repair import oriented
from bokehlib.methods import DEFAULT_METHOD
from bokehlib.study.results import RESULTS

WORKING = 512  # px, longer side of what the page shows
WIDEST = 0.06  # largest aperture, of the photo's longer side; the page opens at half of it
WIDEST_RANGE = 0.25  # disparity to either side of the focus
IN_FOCUS = np.array([1.0, 0.55, 0.0], dtype=np.float32)  # colour on the disparity map
CSS = ".gradio-container {max-width: 1112px !important; margin: auto}"  # two columns of WORKING px


class Refocus:
    """A photo at the working size of the page, refocused by any renderer that is ready.

    Focus and spread are disparities; spread is how far from the focus what stays sharp extends to
    either side. The aperture is in pixels of the whole photo per unit of disparity.
    """

    def __init__(self, photo: Photo, files: str = "PHOTO --disparity DISPARITY"):
        """Resize a photo of any size; `files` names it and its disparity in `command`."""
        height, width = photo.disparity.shape
        self.longest, self.files = max(height, width), files
        self.scale = min(1.0, WORKING / self.longest)
        self.view = photo if self.scale == 1 else photo.resized(max(1, round(width * self.scale)))
        self._load = lru_cache(maxsize=2)(methods.load)

    def focus_at(self, x: int, y: int) -> float:
        """Disparity under a pixel of the view, to the four decimals of the printed command."""
        return round(float(self.view.disparity[y, x]), 4)

    def render(
        self, focus: float, aperture: float, spread: float = 0.0, method: str = DEFAULT_METHOD
    ) -> np.ndarray:
        """Render the view, (H, W, 3) in [0, 1]."""
        import torch

        from bokehlib.optics import Lens

        image, _ = self.view.tensors()
        disparity = torch.from_numpy(self._flattened(focus, spread))[None, None]
        torch.manual_seed(0)
        with torch.inference_mode():
            lens = Lens(focus, aperture * self.scale)
            picture = self._load(method)(image, disparity, lens)
        return picture[0].permute(1, 2, 0).float().cpu().numpy()

    def focus_map(self, focus: float, aperture: float, spread: float = 0.0) -> np.ndarray:
        """The view's disparity in grey with what is in focus in colour, (H, W, 3) in [0, 1]."""
        radius = aperture * self.scale * np.abs(self._flattened(focus, spread) - focus)
        grey = np.repeat(self.view.disparity[..., None], 3, axis=-1)
        return np.where(radius[..., None] < 0.5, (grey + IN_FOCUS) / 2, grey)

    def command(
        self, focus: float, aperture: float, spread: float = 0.0, method: str = DEFAULT_METHOD
    ) -> str:
        """The command that renders the same picture at full size."""
        kept = f" --focus-range {spread:.4g}" if spread else ""
        return (
            f"python -m bokehlib render {self.files} --focus-disparity {focus:.4g}{kept} "
            f"--aperture {aperture:.4g} --method {method} --out refocused.png"
        )

    def page(self, method: str = DEFAULT_METHOD) -> Any:
        """The page as a `gradio.Blocks`, not yet served."""
        import gradio as gr

        middle = self.focus_at(*(side // 2 for side in self.view.disparity.shape[::-1]))
        widest = max(1, round(WIDEST * self.longest))
        still: dict[str, Any] = {"interactive": False, "buttons": [], "format": "png"}
        still |= {"show_label": False, "min_width": 320}
        local: dict[str, Any] = {"analytics_enabled": False, "delete_cache": (600, 600)}  # s
        with gr.Blocks(title="Refocus", **local) as page:
            gr.Markdown("# Refocus")
            gr.Markdown("Click on what should be in focus; the disparity map shows it in orange.")
            with gr.Row():
                picture = gr.Image(_levels(self.view.image), alt_text="refocused photo", **still)
                depth = gr.Image(alt_text="disparity", **still)
            with gr.Row():
                with gr.Column():
                    label = "Aperture, px per unit of disparity"
                    focus = gr.Slider(0, 1, middle, step=1e-4, label="Focus, disparity", buttons=[])
                    aperture = gr.Slider(0, widest, widest / 2, step=0.5, label=label, buttons=[])
                    label = "In focus to either side, disparity"
                    spread = gr.Slider(0, WIDEST_RANGE, 0, step=0.005, label=label, buttons=[])
                with gr.Column():
                    name = gr.Dropdown(methods.ready(), value=method, label="Method")
                    label = "Command that renders this at full size"
                    command = gr.Textbox(label=label, lines=4, max_lines=9, buttons=["copy"])
            self._connect(page, picture, depth, command, [focus, aperture, spread, name])
        return page

    def _connect(self, page: Any, picture: Any, depth: Any, command: Any, lens: list[Any]) -> None:
        """Let a click set the focus, and every change of the lens render again."""
        import gradio as gr

        def pick(event: gr.SelectData) -> float:
            return self.focus_at(*event.index)

        def show(*lens: Any) -> tuple[np.ndarray, np.ndarray, str]:
            shown = _levels(self.render(*lens)), _levels(self.focus_map(*lens[:3]))
            return *shown, self.command(*lens)

        gr.on([picture.select, depth.select], pick, None, lens[0], show_progress="hidden")
        changes = [page.load, *(part.change for part in lens)]
        shown = {"show_progress": "minimal", "show_progress_on": picture}
        gr.on(changes, show, lens, [picture, depth, command], trigger_mode="always_last", **shown)

    def _flattened(self, focus: float, spread: float) -> np.ndarray:
        return photographic.flatten(self.view.disparity, focus, focus - spread, focus + spread)


def read(
    photo: str, disparity: str = "", *, estimated: bool = False, download: bool = False
) -> Refocus:
    """Open any photo that `render` takes.

    Its disparity is another file, the map in the photo's own file, or estimated by a depth
    network, which is fetched where `download` allows it.

    Raises:
        InputError: A file is missing or broken, there is no map, or it is of another shape.
    """
    shot = photos.read(photo, "PHOTO")
    image, turn = shot.image, 1  # a map in the file itself lies as it says
    if estimated:
        estimate.check(download=download)
        device = methods.resolve_device("auto")
        depth = estimate.estimate(image, device=device, download=download)
    elif disparity and Path(disparity) != Path(photo):
        depth, turn = disparity_maps.read(disparity), shot.turn
    else:
        try:
            image, depth = disparity_maps.of_photo(photo, image)
        except InputError as error:
            accepted = "--disparity FILE, --estimate-disparity, or a phone's photo with a map in it"
            raise InputError(
                f"--disparity: found none, nor a map in {photo}; accepted: {accepted}"
            ) from error
    values, _ = oriented(depth.disparity, image, turn)
    option = ["--estimate-disparity"] if estimated else ["--disparity", disparity or photo]
    return Refocus(Photo(image.clip(max=1), values, depth.source), shlex.join([photo, *option]))


def demo(folder: Path = RESULTS / "runs" / "refocus", width: int = 741) -> Refocus:
    """Open the motorcycle of scikit-image, `width` px wide, as files that `render` can read."""
    folder.mkdir(parents=True, exist_ok=True)
    photo, disparity = (os.path.relpath(folder / f"{n}.png") for n in ("photo", "disparity"))
    shot = motorcycle().resized(width)
    images.write_image(photo, shot.image)
    images.write_disparity(disparity, shot.disparity)
    return read(photo, disparity)


def serve(page: Any, port: int = 0, browser: bool = False) -> str:
    """Serve a page on this machine alone, inside the notebook if there is one.

    Args:
        page: As of `Refocus.page`; `page.close()` ends it.
        port: 0 for any that is free.
        browser: Open it in the browser.

    Returns:
        Its address.

    Raises:
        InputError: The port is taken.
    """
    import gradio as gr

    fonts: dict[str, Any] = {"font": ["system-ui", "sans-serif"], "font_mono": ["monospace"]}
    look: dict[str, Any] = {"css": CSS, "theme": gr.themes.Default(**fonts), "height": 800}
    look |= {"quiet": True, "show_error": True, "footer_links": [], "ssr_mode": False}
    where: dict[str, Any] = {"server_name": "127.0.0.1", "server_port": port or None}
    try:
        launched = page.launch(
            share=False, prevent_thread_lock=True, inbrowser=browser, **where, **look
        )
    except OSError as error:
        raise InputError(f"--port: found {port}, taken; accepted: a free one, or 0") from error
    return launched[1]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    option = parser.add_argument
    option("photo", metavar="PHOTO", nargs="?", default="", help="one to try by default")
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument("--disparity", metavar="FILE", default="", help="or PHOTO has one in it")
    depth.add_argument("--estimate-disparity", action="store_true", help="by a depth network")
    option("--download", action="store_true", help="fetch it if it is not here")
    option("--method", metavar="NAME", default=DEFAULT_METHOD, choices=methods.ready())
    option("--port", metavar="N", type=int, default=0, help="any that is free by default")
    option("--no-browser", action="store_true", help="only print the address")


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C.

    Raises:
        InputError: Arguments or files are bad, gradio is missing, or the port is taken.
    """
    number(str(arguments.port), "--port", "0 to 65535, 0 for any that is free", low=0, high=65535)
    network = {"estimated": arguments.estimate_disparity, "download": arguments.download}
    if arguments.download and not arguments.estimate_disparity:
        raise InputError("--download: found alone; accepted: with --estimate-disparity")
    if not arguments.photo and (arguments.disparity or arguments.estimate_disparity):
        raise InputError("PHOTO: found none, but an option for its disparity; accepted: a photo")
    if find_spec("gradio") is None:
        raise InputError("refocus: found no package gradio; accepted: pip install bokehlib[study]")
    shot = read(arguments.photo, arguments.disparity, **network) if arguments.photo else demo()
    page = shot.page(arguments.method)
    print(f"{serve(page, arguments.port, not arguments.no_browser)} (Ctrl-C ends it)", flush=True)
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)
    return 0


def _levels(picture: np.ndarray) -> np.ndarray:
    return np.round(picture.clip(0, 1) * 255).astype(np.uint8)
