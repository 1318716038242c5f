"""Scenes by Mitsuba 3 (`scalar_rgb`): the only module that knows it.

Mitsuba's own +x is the left of a picture, so x changes its sign on the way in.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bokehlib.extras.pathtracing import SIZE, shapes
from bokehlib.extras.pathtracing.shapes import Ball, Mesh, Strands
from bokehlib.extras.pathtracing.world import VERTEX, World
from bokehlib.io.errors import InputError

MIRROR = np.array([-1.0, 1.0, 1.0])
HIDE = {"type": "path", "hide_emitters": True}
LAMPS = 0.3  # how often light is looked for at all lamps together, against 1 for the sky
_COLOURS = ("reflectance", "diffuse_reflectance", "specular_reflectance", "radiance")


def mitsuba(threads: int = 1) -> Any:
    """The package, set to the variant that needs nothing beside it.

    Raises:
        InputError: it is not installed.
    """
    try:
        import drjit
        import mitsuba as package
    except ImportError as error:
        raise InputError(
            "rendering: found no package mitsuba; accepted: an environment with bokehlib[render]"
        ) from error
    package.set_variant("scalar_rgb")
    package.set_log_level(package.LogLevel.Error)
    drjit.set_thread_count(threads)
    return package


def light(
    world: World, radius: float, focus: float, samples: int, seed: int, emitted: int = 0
) -> np.ndarray:
    """Linear light of a picture, (H, W, 3) float32.

    Args:
        world: the scene; it is built anew, for a scene that was rendered once may not be again.
        radius: of the lens in metres, 0 for a pinhole.
        focus: distance that is sharp, along the optical axis.
        samples: a pixel, a square number: stratified over the pixel and over the lens.
        seed: of the sampler.
        emitted: where it is not 0, light that comes straight from lamps and sky is sampled apart
            with so many samples; the sum is the same light with less noise.
    """
    parts = [({"type": "path", "max_depth": world.depth}, samples)]
    if emitted:
        parts = [
            (HIDE | {"max_depth": world.depth}, samples),
            ({"type": "path", "max_depth": 1}, emitted),
        ]
    package = mitsuba()
    total = np.zeros((*SIZE, 3), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        for integrator, count in parts:
            sensor = _sensor(package, world, radius, focus, count)
            scene = _scene(package, world, sensor, integrator, Path(folder))
            total += np.asarray(package.render(scene, seed=seed))[..., :3]
    return total


def depth(world: World) -> np.ndarray:
    """Distance of the first surface along the optical axis in the middle of every pixel, (H, W).

    Infinite where there is nothing.
    """
    package = mitsuba()
    height, width = SIZE
    found = np.full(SIZE, np.inf)
    with tempfile.TemporaryDirectory() as folder:
        sensor = _sensor(package, world, 0.0, 1.0, 1)
        scene = _scene(package, world, sensor, {"type": "path"}, Path(folder))
        camera = scene.sensors()[0]
        for y in range(height):
            for x in range(width):
                place = ((x + 0.5) / width, (y + 0.5) / height)
                ray, _ = camera.sample_ray(0.0, 0.5, place, (0.5, 0.5))
                hit = scene.ray_intersect_preliminary(ray)
                if hit.is_valid():
                    point = np.array(ray.o) + hit.t * np.array(ray.d)
                    found[y, x] = world.camera.depth(point * MIRROR)
    return found


def _sensor(package: Any, world: World, radius: float, focus: float, samples: int) -> dict:
    camera, transform = world.camera, package.ScalarTransform4f
    origin, target = (camera.origin, camera.origin + camera.forward)
    height, width = SIZE
    film = {"type": "hdrfilm", "width": width, "height": height, "pixel_format": "rgb"}
    film |= {"component_format": "float32", "rfilter": {"type": "box"}}
    lens: dict[str, Any] = {"type": "perspective"}
    if radius:
        lens = {"type": "thinlens", "aperture_radius": radius, "focus_distance": focus}
    return lens | {
        "fov": camera.fov,
        "fov_axis": "x",
        "near_clip": 0.01,
        "far_clip": 1000.0,
        "to_world": transform().look_at(
            origin=list(origin * MIRROR), target=list(target * MIRROR), up=[0, 1, 0]
        ),
        "film": film,
        "sampler": {
            "type": "stratified" if samples > 1 else "independent",
            "sample_count": samples,
        },
    }


def _scene(package: Any, world: World, sensor: dict, integrator: dict, folder: Path) -> Any:
    sky = {"type": "envmap", "bitmap": package.Bitmap(world.sky)}
    scene = {"type": "scene", "integrator": integrator, "sensor": sensor, "sky": sky}
    textures: dict[int, Any] = {}  # a texture that several things share is loaded once
    weight = LAMPS / max(sum(thing.light is not None for thing in world.things), 1)
    for number, thing in enumerate(world.things):
        made = _shape(thing.shape, folder / f"{number}")
        made["bsdf"] = _material(package, thing.material, textures)
        if thing.light is not None:
            light = _paint(package, thing.light, textures)
            made["emitter"] = {"type": "area", "radiance": light, "sampling_weight": weight}
        scene[f"thing{number}"] = made
    return package.load_dict(scene)


def _shape(shape: Any, path: Path) -> dict[str, Any]:
    if isinstance(shape, Ball):
        x, y, z = shape.centre
        return {"type": "sphere", "center": [-x, y, z], "radius": shape.radius}
    if isinstance(shape, Strands):
        path = path.with_suffix(".txt")
        if not path.exists():
            path.write_text(_curves(shape))
        return {"type": "bsplinecurve", "filename": str(path)}
    path = path.with_suffix(".ply")
    if not path.exists():
        path.write_bytes(_ply(shape))
    return {"type": "ply", "filename": str(path), "face_normals": not shape.smooth}


def _curves(shape: Strands) -> str:
    """The lines of Mitsuba's curve file: x, y, z and radius of a point; a curve ends at a gap.

    Mitsuba looks up the segment of a hit as floor(v * segments), one too many for a hit at the end
    of the last one: it reads past its arrays and segfaults (3.9.1; most often where v is rounded
    to 1 among many segments). A curve without thickness inside the last one is never hit, and what
    is looked up there instead.
    """
    rows = np.concatenate([shape.points * MIRROR, shape.radii[..., None]], axis=-1)
    guard = rows[-1, :4] * (1, 1, 1, 0)
    curves = (
        "\n".join(" ".join(f"{n:.6f}" for n in point) for point in curve)
        for curve in [*rows, guard]
    )
    return "\n\n".join(curves) + "\n"


def _ply(mesh: Mesh) -> bytes:
    columns = {name: mesh.vertices[:, n] * MIRROR[n] for n, name in enumerate("xyz")}
    if mesh.uv is not None:
        columns |= {name: mesh.uv[:, n] for n, name in enumerate("uv")}
    if mesh.smooth:
        across = shapes.normals(mesh)
        columns |= {f"n{name}": across[:, n] * MIRROR[n] for n, name in enumerate("xyz")}
    if mesh.colours is not None:
        columns |= {name: mesh.colours[:, n] for n, name in enumerate("rgb")}
    solid = shapes.solid(mesh)
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(mesh.vertices)}"]
    header += [f"property float {name}" for name in columns]
    header += [f"element face {len(solid)}", "property list uchar int vertex_index"]
    text = "\n".join([*header, "end_header"]) + "\n"
    corners = np.stack(list(columns.values()), axis=-1).astype("<f4")
    faces = np.empty(len(solid), dtype=[("n", "u1"), ("corner", "<i4", (3,))])
    faces["n"], faces["corner"] = 3, solid[:, ::-1]  # mirrored, so turned round
    return text.encode() + corners.tobytes() + faces.tobytes()


def _material(package: Any, material: dict[str, Any], textures: dict[int, Any]) -> dict[str, Any]:
    made = {}
    for key, value in material.items():
        if key in _COLOURS:
            made[key] = _paint(package, value, textures)
        else:
            made[key] = _material(package, value, textures) if isinstance(value, dict) else value
    return made


def _paint(package: Any, paint: Any, textures: dict[int, Any]) -> Any:
    if isinstance(paint, str) and paint == VERTEX:
        return {"type": "mesh_attribute", "name": "vertex_color"}
    if not isinstance(paint, np.ndarray):
        return {"type": "rgb", "value": [float(value) for value in paint]}
    if id(paint) not in textures:
        bitmap = package.Bitmap(np.ascontiguousarray(paint[::-1], dtype=np.float32))
        textures[id(paint)] = package.load_dict({"type": "bitmap", "bitmap": bitmap, "raw": True})
    return textures[id(paint)]
