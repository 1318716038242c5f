"""`python -m bokehlib.refocus [PHOTO] [--disparity FILE | --estimate-disparity] ...`.

Serves `notebooks/02_refocus` on this machine alone, as a page without code, through Voilà.
"""

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from bokehlib.io.errors import InputError, Parser, number, run_command
from bokehlib.study.results import RESULTS, ROOT, replacing

NOTEBOOK = ROOT / "notebooks" / "02_refocus.ipynb"
HOST = "127.0.0.1"


def prepare(photo: str, disparity: str, root: Path = RESULTS) -> Path:
    """The notebook with these files as its parameters, in `runs/refocus` of the results.

    Raises:
        InputError: A file is missing or broken, or there is no map.
    """
    import nbformat
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    from bokehlib.refocus import session

    given = {"photo": photo, "disparity": disparity}
    if photo:
        session.read(photo, disparity)
    elif disparity:
        raise InputError("disparity: found without a photo; accepted: PHOTO --disparity FILE")
    parameters = {name: str(Path(file).absolute()) for name, file in given.items() if file}
    notebook = load_notebook_node(str(NOTEBOOK))
    made = parameterize_notebook(notebook, parameters | {"results": str(root)})
    path = root / "runs" / "refocus" / NOTEBOOK.name
    with replacing(path) as temporary:
        temporary.write_text(nbformat.writes(made), encoding="utf-8")
    return path


def estimated(photo: str, download: bool, root: Path = RESULTS) -> Path:
    """The map that a depth network makes of a photo, a file in `runs/refocus` of the results.

    Raises:
        InputError: There is no photo, or no network at hand.
    """
    from bokehlib import methods
    from bokehlib.io import estimate, images, photos

    if not photo:
        raise InputError(f"{estimate.ARGUMENT}: found without a photo; accepted: with PHOTO")
    estimate.check(download=download)
    image = photos.read(photo, "photo").image
    device = methods.resolve_device("auto")
    depth = estimate.estimate(image, estimate.MODEL, device, download)
    path = root / "runs" / "refocus" / "disparity.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    images.write_disparity(path, depth.disparity)
    return path


def voila(notebook: Path, port: int, browser: bool) -> list[str]:
    """The command that serves a notebook on this machine."""
    options = [f"--Voila.ip={HOST}", f"--port={port}", "--VoilaConfiguration.show_tracebacks=False"]
    shown = [] if browser else ["--no-browser"]
    return [sys.executable, "-m", "voila", str(notebook), *options, *shown]


def free_port() -> int:
    """A port that nobody listens on now; Voilà itself does not tell which one it was given."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        return taken.getsockname()[1]


def command_line() -> Parser:
    """The options of the command line."""
    parser = Parser(prog="bokehlib.refocus", allow_abbrev=False)
    parser.add_argument("photo", metavar="PHOTO", nargs="?", default="")
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument("--disparity", metavar="FILE", default="", help="or PHOTO has one in it")
    depth.add_argument("--estimate-disparity", action="store_true", help="by a depth network")
    parser.add_argument("--download", action="store_true", help="fetch it if it is not here")
    parser.add_argument("--port", metavar="N", default="0", help="any that is free by default")
    parser.add_argument("--no-browser", action="store_true", help="only say the address")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C: this process becomes the server.

    Raises:
        InputError: Whatever is wrong with arguments or files, or Voilà is not installed.
    """
    asked = command_line().parse_args(argv)
    accepted = "a whole number from 0 to 65535, 0 for any that is free"
    port = number(asked.port, "--port", accepted, low=0, high=65535)
    if port != int(port):
        raise InputError(f"--port: found {asked.port!r}; accepted: {accepted}")
    port = int(port) or free_port()
    disparity = asked.disparity
    if asked.estimate_disparity:
        disparity = str(estimated(asked.photo, asked.download))
    elif asked.download:
        raise InputError("--download: found alone; accepted: with --estimate-disparity")
    notebook = prepare(asked.photo, disparity)
    print(f"http://{HOST}:{port}/ (Ctrl-C ends it)", flush=True)
    command = voila(notebook, port, not asked.no_browser)
    os.execv(command[0], command)  # what was loaded to check the files is not kept


if __name__ == "__main__":
    raise SystemExit(run_command(main))
