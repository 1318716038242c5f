"""Files as phones write them, made here: HEIC with a depth map, JPEG with Google's metadata."""

import base64
import io
import math
import struct

import numpy as np
from PIL import Image

DEPTH = b"urn:mpeg:hevc:2015:auxid:2\0"
SIZE = (64, 96)  # of a photo
SMALL = (32, 48)  # of its depth map


def photo(size=SIZE):
    """A smooth picture in colours, 8 bits."""
    y, x = np.mgrid[: size[0], : size[1]]
    planes = (x / size[1], y / size[0], (x + y) / sum(size))
    return np.stack([np.round(255 * plane) for plane in planes], -1).astype(np.uint8)


def ramp(size=SMALL):
    """Levels from 0 at the left to 255 at the right."""
    return np.tile(np.linspace(0, 255, size[1]).round().astype(np.uint8), (size[0], 1))


# --- HEIC ------------------------------------------------------------------------------------


def _box(kind, body):
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _boxes(blob, start, end):
    while start < end:
        length, kind = struct.unpack(">I4s", blob[start : start + 8])
        yield kind, blob[start + 8 : start + length]
        start += length


def _float(value):
    """sign, exponent and mantissa of H.265's depth_rep_info_element, as a text of bits."""
    exponent = math.floor(math.log2(abs(value)))
    mantissa = round((abs(value) / 2**exponent - 1) * 2**32)
    return f"{int(value < 0)}{exponent + 31:07b}{31:05b}{mantissa:032b}"


def _message(kind, near=None, far=None, low=None, high=None):
    """A NAL unit with H.265's SEI message 177, depth_representation_info, behind two lengths."""
    values = (near, far, low, high)
    flags = "".join("01"[value is not None] for value in values)
    text = flags + {0: "1", 1: "010", 2: "011", 3: "00100"}[kind]
    text += "1" * (flags[2:] != "00")  # the view that disparity refers to, number 0
    text += "".join(_float(value) for value in values if value is not None) + "1"
    text += "0" * (-len(text) % 8)
    payload = int(text, 2).to_bytes(len(text) // 8, "big")
    unit = b"\x4e\x01\xb1" + bytes([len(payload)]) + payload
    return struct.pack(">II", len(unit) + 4, len(unit)) + unit


def heic(path, levels=None, representation=None, picture=None, **options):
    """Write a HEIC whose second image is the depth map of the first; None writes no map.

    pillow-heif writes both images and cannot say that one is the depth of the other, so the two
    boxes that say so are put in afterwards.
    """
    import pillow_heif

    pillow_heif.register_heif_opener()
    first = Image.fromarray(photo() if picture is None else picture)
    if levels is None:
        first.save(path, format="HEIF", quality=90, **options)
        return
    stored = io.BytesIO()
    more = [Image.fromarray(levels)]
    first.save(stored, format="HEIF", quality=95, save_all=True, append_images=more, **options)
    subtype = _message(**representation) if representation else b""
    path.write_bytes(_linked(stored.getvalue(), subtype))


def _linked(blob, subtype):
    parts = dict(_boxes(blob, 0, len(blob)))
    meta = dict(_boxes(parts[b"meta"], 4, len(parts[b"meta"])))
    properties = dict(_boxes(meta[b"iprp"], 0, len(meta[b"iprp"])))
    number = len(list(_boxes(properties[b"ipco"], 0, len(properties[b"ipco"])))) + 1
    properties[b"ipco"] += _box(b"auxC", bytes(4) + DEPTH + subtype)
    photo_item, map_item = _pictures(meta[b"iinf"])
    associations, place = bytearray(properties[b"ipma"]), 8
    for _ in range(int.from_bytes(associations[4:8], "big")):
        count = associations[place + 2]
        if int.from_bytes(associations[place : place + 2], "big") == map_item:
            associations[place + 2] += 1
            associations.insert(place + 3, number)
            count += 1
        place += 3 + count
    properties[b"ipma"] = bytes(associations)
    meta[b"iprp"] = b"".join(_box(*pair) for pair in properties.items())
    references = meta.get(b"iref", bytes(4))
    meta[b"iref"] = references + _box(b"auxl", struct.pack(">HHH", map_item, 1, photo_item))
    written = bytes(4) + b"".join(_box(*pair) for pair in meta.items())
    shift = len(written) - len(parts[b"meta"])
    places = bytearray(meta[b"iloc"])
    for n in range(
        int.from_bytes(places[6:8], "big")
    ):  # id, file, base, number of extents, then place and length of one
        start = 8 + n * 18 + 10
        (offset,) = struct.unpack(">I", places[start : start + 4])
        places[start : start + 4] = struct.pack(">I", offset + shift)
    meta[b"iloc"] = bytes(places)
    parts[b"meta"] = bytes(4) + b"".join(_box(*pair) for pair in meta.items())
    return b"".join(_box(*pair) for pair in parts.items())


def _pictures(items):
    """Numbers of the pictures among the items, EXIF aside."""
    bodies = [body for _, body in _boxes(items, 6, len(items))]
    return [int.from_bytes(body[4:6], "big") for body in bodies if body[8:12] == b"hvc1"]


# --- JPEG with Google's metadata -------------------------------------------------------------


def _segment(body):
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def _xmp(inner, attributes=""):
    text = (
        '<?xpacket begin="" id="x"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f"{attributes}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    return text.encode()


def _jpeg(levels, **options):
    stored = io.BytesIO()
    Image.fromarray(levels).save(stored, "JPEG", quality=97, subsampling=0, **options)
    return stored.getvalue()


def _with_segments(jpeg, *bodies):
    return jpeg[:2] + b"".join(map(_segment, bodies)) + jpeg[2:]


def gdepth(path, levels, form="RangeInverse", near=1, far=5, units="m", part=8000, exif=None):
    """Write a JPEG with GDepth: the map in base64 in as many extended segments as it takes."""
    space = 'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/"'
    said = f'GDepth:Format="{form}" GDepth:Near="{near}" GDepth:Far="{far}" GDepth:Units="{units}"'
    stored = io.BytesIO()
    Image.fromarray(levels).save(stored, "PNG")
    data = base64.b64encode(stored.getvalue()).decode()
    extended = _xmp("", f'{space} GDepth:Data="{data}"')
    bodies = [b"http://ns.adobe.com/xap/1.0/\0" + _xmp("", f"{space} {said}")]
    for start in range(0, len(extended), part):
        head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
        head += struct.pack(">II", len(extended), start)
        bodies.append(head + extended[start : start + part])
    options = {"exif": exif} if exif else {}
    path.write_bytes(_with_segments(_jpeg(photo(), **options), *bodies))


def dynamic_depth(path, levels, form="RangeInverse", near=1, far=5, units="m", said="uri"):
    """Write a JPEG with dynamic depth: map and another file behind the photo, in a directory."""
    depth, other = _jpeg(levels), _jpeg(255 - levels[::-1])
    mark = {
        "uri": 'Item:DataURI="android/depthmap"',
        "semantic": 'Item:Semantic="Depth"',
        "nothing": "",
    }[said]
    spaces = (
        'xmlns:Depth="http://ns.google.com/photos/dd/1.0/depthmap/" '
        'xmlns:Container="http://ns.google.com/photos/dd/1.0/container/" '
        'xmlns:Item="http://ns.google.com/photos/dd/1.0/item/"'
    )
    items = [
        'Item:Mime="image/jpeg" Item:Semantic="Primary"',
        f'Item:Mime="image/jpeg" Item:Length="{len(depth)}" {mark}',
        f'Item:Mime="image/jpeg" Item:Length="{len(other)}" Item:DataURI="android/confidencemap"',
    ]
    entries = "".join(
        f'<rdf:li rdf:parseType="Resource"><Container:Item {item}/></rdf:li>' for item in items
    )
    inner = (
        f'<Depth:Map Depth:Format="{form}" Depth:Near="{near}" Depth:Far="{far}" '
        f'Depth:Units="{units}" Depth:DepthURI="android/depthmap"/>'
        f"<Container:Directory><rdf:Seq>{entries}</rdf:Seq></Container:Directory>"
    )
    body = b"http://ns.adobe.com/xap/1.0/\0" + _xmp(inner, spaces)
    path.write_bytes(_with_segments(_jpeg(photo()), body) + depth + other)
