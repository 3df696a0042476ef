"""Reads what a crrd station publishes. Python 3.9 or newer, standard library only: copy this file.

As a program it decodes what mosquitto_sub prints, one JSON object a message:

    mosquitto_sub -t 'crr/#' -F '%t %x' | python3 crrd_plc.py

What the fields mean is in docs/plc.md and docs/spec/vbin.md of the project.
"""

import base64
import collections
import dataclasses
import json
import re
import struct
import sys
import zlib

VERSION = 1
PASS = 1
LATE = 1
VERDICT_BYTES_MAX = 200
RECORD_BYTES = 64
MASK_SIDE_MAX = 4096
VIEWS_MAX = 8
_PART = re.compile(r"[A-Za-z0-9_.-]{1,16}")
_U8, _U16, _U32, _I32 = 0xFF, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF


class NotValid(ValueError):
    """The payload is not what its topic carries. For a verdict that means reject."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The answer to one part; the names are those of the payload."""

    v: int
    q: int
    e: int
    t: int
    p: str
    r: int
    c: int
    o: int
    k: int
    s: int
    h: int
    pv: int
    n: int
    l: int  # noqa: E741
    a: int
    f: int

    @property
    def passed(self):
        """Whether this lets a part go. A late result never does."""
        return self.o == PASS and self.f & LATE == 0

    @property
    def key(self):
        """Unique for ever."""
        return (self.e, self.q)


# Least and largest value of each number, in the order of the text.
_RANGES = {
    "v": (VERSION, VERSION), "q": (0, _U32), "e": (0, _U32), "t": (0, _U32), "p": None,
    "r": (0, _U16), "c": (0, _U16), "o": (0, 3), "k": (0, _U8), "s": (-1, _I32), "h": (-1, _I32),
    "pv": (0, _U16), "n": (0, _U8), "l": (0, _U32), "a": (0, _U32), "f": (0, _U16),
}


def _object(payload, what):
    def unique(pairs):
        if len({key for key, _ in pairs}) != len(pairs):
            raise NotValid(f"{what}: a key is there twice")
        return dict(pairs)

    try:
        found = json.loads(bytes(payload).decode("ascii"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as problem:
        raise NotValid(f"{what}: {problem}") from problem
    if not isinstance(found, dict):
        raise NotValid(f"{what}: not an object")
    return found


def _whole(value, least, most, what):
    # True and 1.0 equal 1, and are no numbers of this contract.
    if type(value) is not int or not least <= value <= most:
        raise NotValid(f"{what} is {value!r}, not a whole number from {least} to {most}")
    return value


def _verdict(fields):
    for key, limits in _RANGES.items():
        if limits is None:
            if not isinstance(fields[key], str) or not _PART.fullmatch(fields[key]):
                raise NotValid(f"part id {fields[key]!r}")
        else:
            _whole(fields[key], *limits, key)
    return Verdict(**fields)


def read_verdict(payload):
    """The topics verdict, hist and last: the text form."""
    if len(payload) > VERDICT_BYTES_MAX:
        raise NotValid(f"verdict: {len(payload)} bytes, at most {VERDICT_BYTES_MAX}")
    fields = _object(payload, "verdict")
    if set(fields) != set(_RANGES):
        raise NotValid(f"verdict: keys {sorted(fields)}")
    return _verdict(fields)


def crc16(data):
    """CRC-16/MODBUS."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def read_record(payload):
    """The topic vbin: the 64-byte form, in either byte order."""
    payload = bytes(payload)
    if len(payload) != RECORD_BYTES:
        raise NotValid(f"record: {len(payload)} bytes instead of {RECORD_BYTES}")
    order = {b"CR": ">", b"RC": "<"}.get(payload[:2])
    if order is None:
        raise NotValid("record: it does not begin with 16#4352")
    (_, v, size, q, e, t, part, r, c, o, k, pv, s, h, latency, a, f, n, reserved, crc) = (
        struct.unpack(order + "HBBIII16sHHBBHiiIIHB3sH", payload)
    )
    if v != VERSION or size != RECORD_BYTES:
        raise NotValid(f"record: version {v}, {size} bytes")
    if crc != crc16(payload[:-2]):
        raise NotValid("record: damaged (CRC)")
    if any(reserved):
        raise NotValid("record: reserved bytes are not zero")
    # Only the filling is taken off: a zero byte inside is refused with the other characters.
    p = part.rstrip(b"\0").decode("latin-1")
    return _verdict(dict(
        v=v, q=q, e=e, t=t, p=p, r=r, c=c, o=o, k=k, s=s, h=h, pv=pv, n=n, l=latency, a=a, f=f,
    ))


@dataclasses.dataclass(frozen=True)
class State:
    """What a PLC needs of the state; `fields` has the rest."""

    online: bool
    ready: bool
    epoch: int
    fields: dict


def read_state(payload):
    """The topic state, the last will included."""
    fields = _object(payload, "state")
    _whole(fields.get("v"), VERSION, VERSION, "v")
    online = _whole(fields.get("online"), 0, 1, "online") == 1
    ready = _whole(fields.get("ready"), 0, 1, "ready") == 1
    return State(online, online and ready, _whole(fields.get("e"), 0, _U32, "e"), fields)


def read_heartbeat(payload):
    """The topic hb: a counter."""
    if not re.fullmatch(rb"[0-9]{1,20}", bytes(payload)):
        raise NotValid("heartbeat: not a number")
    return int(payload)


@dataclasses.dataclass(frozen=True)
class Box:
    """A defect area in pixels of the map."""

    x: int
    y: int
    width: int
    height: int
    score: int  # x 10 000


@dataclasses.dataclass(frozen=True)
class Mask:
    """Where the defects of a part are."""

    q: int
    e: int
    t: int
    p: str
    map_size: tuple
    picture_size: tuple
    boxes: list
    size: tuple  # None when only boxes were sent
    pixels: bytes  # one byte a pixel, 0 or 1, row by row; None when only boxes were sent
    affine: tuple  # thousandths; None when only boxes were sent, or quad instead
    quad: tuple = None  # x, y of the mask's corners in the picture, clockwise; thousandths
    picture_boxes: list = None  # (x, y, width, height); None when those of the map are scaled
    view: int = None  # number of the camera whose picture it is, from 1; None with one camera
    camera: str = None  # its name

    def to_picture(self, x, y):
        """Picture coordinates of a point of the mask."""
        if self.quad is not None:
            return self._in_quad(x / self.size[0], y / self.size[1])
        ax, ay, bx, by = self.affine
        return ((ax * x + bx) / 1000, (ay * y + by) / 1000)

    def _in_quad(self, u, v):
        """The point (u, v) of the unit square, seen in perspective (Heckbert 1989)."""
        x0, y0, x1, y1, x2, y2, x3, y3 = (value / 1000 for value in self.quad)
        sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
        px, py, qx, qy = x1 - x2, y1 - y2, x3 - x2, y3 - y2
        area = px * qy - qx * py
        g, h = (sx * qy - qx * sy) / area, (px * sy - sx * py) / area
        w = g * u + h * v + 1
        return (
            ((x1 - x0 + g * x1) * u + (x3 - x0 + h * x3) * v + x0) / w,
            ((y1 - y0 + g * y1) * u + (y3 - y0 + h * y3) * v + y0) / w,
        )

    def box_in_picture(self, box):
        """Left, top, right and bottom of a box in picture coordinates."""
        if self.picture_boxes is not None:
            x, y, width, height = self.picture_boxes[self.boxes.index(box)]
            return (x, y, x + width, y + height)
        sx = self.picture_size[0] / self.map_size[0]
        sy = self.picture_size[1] / self.map_size[1]
        return (box.x * sx, box.y * sy, (box.x + box.width) * sx, (box.y + box.height) * sy)


def decode_rle(width, height, text):
    """COCO run-length text to row-major pixels."""
    runs, value, shift = [], 0, 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group <= 63 or shift > 55:
            raise NotValid("mask: not run-length text")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        runs.append(value)
        value, shift = 0, 0
    if shift or any(run < 0 for run in runs) or sum(runs) != width * height:
        raise NotValid("mask: the runs do not cover it")
    columns = bytearray()
    for i, run in enumerate(runs):
        columns += (b"\1" if i % 2 else b"\0") * run
    pixels = bytearray(width * height)
    for x in range(width):
        pixels[x::width] = columns[x * height:(x + 1) * height]
    return bytes(pixels)


def _png_chunks(data):
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise NotValid("mask: not a PNG")
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4:at + 8], data[at + 8:at + 8 + length]
        if len(data) < at + 12 + length:
            break
        (crc,) = struct.unpack_from(">I", data, at + 8 + length)
        if crc != zlib.crc32(kind + body):
            raise NotValid("mask: damaged PNG")
        yield kind, body
        if kind == b"IEND":
            return
        at += 12 + length
    raise NotValid("mask: truncated PNG")


def _paeth(left, above, corner):
    guess = left + above - corner
    distances = (abs(guess - left), abs(guess - above), abs(guess - corner))
    return (left, above, corner)[distances.index(min(distances))]


def _unfiltered(raw, stride, height):
    """Undoes the line filters of PNG for pixels of at most one byte."""
    above = bytes(stride)
    for y in range(height):
        kind, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for x in range(stride):
            left, corner = (line[x - 1], above[x - 1]) if x else (0, 0)
            if kind == 0:
                continue
            elif kind == 1:
                guess = left
            elif kind == 2:
                guess = above[x]
            elif kind == 3:
                guess = (left + above[x]) // 2
            elif kind == 4:
                guess = _paeth(left, above[x], corner)
            else:
                raise NotValid("mask: unknown PNG filter")
            line[x] = (line[x] + guess) & 255
        yield line
        above = line


def decode_png(width, height, data):
    """A 1-bit grey PNG to row-major pixels."""
    head, packed = None, b""
    for kind, body in _png_chunks(data):
        if kind == b"IHDR":
            head = body
        elif kind == b"IDAT":
            packed += body
    if head != struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0):
        raise NotValid("mask: a PNG of another kind or size")
    stride = (width + 7) // 8
    size = (stride + 1) * height
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(packed, size)
    except zlib.error as problem:
        raise NotValid(f"mask: {problem}") from problem
    if len(raw) != size:
        raise NotValid("mask: truncated PNG")
    pixels = bytearray()
    for line in _unfiltered(raw, stride, height):
        pixels += bytes(line[x >> 3] >> (7 - (x & 7)) & 1 for x in range(width))
    return bytes(pixels)


def _picture_boxes(fields, count):
    """Boxes (x, y, width, height) in picture pixels; None when they are those of the map, scaled."""
    if "pbox" not in fields:
        return None
    boxes = fields["pbox"]
    if not isinstance(boxes, list) or len(boxes) != count:
        raise NotValid("mask: not as many boxes of the picture as of the map")
    if any(not isinstance(box, list) or len(box) != 4 for box in boxes):
        raise NotValid("mask: a picture box of other than 4 numbers")
    return [tuple(_whole(value, 0, _U32, "pbox") for value in box) for box in boxes]


def read_mask(payload):
    """The topic mask."""
    fields = _object(payload, "mask")
    number = lambda key, most: _whole(fields.get(key), 0, most, key)  # noqa: E731
    _whole(fields.get("v"), VERSION, VERSION, "v")
    if not isinstance(fields.get("p"), str) or not _PART.fullmatch(fields["p"]):
        raise NotValid(f"part id {fields.get('p')!r}")
    boxes = fields.get("box")
    if not isinstance(boxes, list) or len(boxes) > 8:
        raise NotValid("mask: no list of up to 8 boxes")
    if any(not isinstance(box, list) or len(box) != 5 for box in boxes):
        raise NotValid("mask: a box of other than 5 numbers")
    boxes = [Box(*(_whole(value, -1, _I32, "box") for value in box)) for box in boxes]
    map_size = (number("mw", MASK_SIDE_MAX), number("mh", MASK_SIDE_MAX))
    picture_size = (number("pw", _U32), number("ph", _U32))
    picture_boxes = _picture_boxes(fields, len(boxes))
    size = pixels = affine = quad = None
    # aff, or for a picture seen turned or in perspective its corners.
    place = "quad" if "quad" in fields and "aff" not in fields else "aff"
    given = [key in fields for key in ("enc", "w", "h", place, "data")]
    if any(given):
        if not all(given):
            raise NotValid("mask: incomplete keys")
        size = (number("w", MASK_SIDE_MAX), number("h", MASK_SIDE_MAX))
        numbers, data = fields[place], fields["data"]
        count = 4 if place == "aff" else 8
        if 0 in size or not isinstance(numbers, list) or len(numbers) != count:
            raise NotValid("mask: impossible size or affine")
        numbers = tuple(_whole(value, -_I32, _U32, place) for value in numbers)
        affine, quad = (numbers, None) if place == "aff" else (None, numbers)
        if not isinstance(data, str):
            raise NotValid("mask: data is no text")
        if fields["enc"] == "rle":
            pixels = decode_rle(*size, data)
        elif fields["enc"] == "png":
            try:
                packed = base64.b64decode(data, validate=True)
            except ValueError as problem:
                raise NotValid(f"mask: {problem}") from problem
            pixels = decode_png(*size, packed)
        else:
            raise NotValid(f"mask: unknown encoding {fields['enc']!r}")
    view = camera = None
    if "view" in fields or "cn" in fields:
        view, camera = _whole(fields.get("view"), 1, VIEWS_MAX, "view"), fields.get("cn")
        if not isinstance(camera, str):
            raise NotValid("mask: a view without the name of its camera")
    return Mask(
        number("q", _U32), number("e", _U32), number("t", _U32), fields["p"],
        map_size, picture_size, boxes, size, pixels, affine, quad, picture_boxes, view, camera,
    )


class Seen:
    """Drops what was received before: a message may come twice, and on hist as well.

    Remembers the newest `most` verdicts.
    """

    def __init__(self, most=100_000):
        self._seen = collections.OrderedDict()
        self._most = most

    def is_new(self, verdict):
        """False for a repetition. Raises NotValid when (e, q) comes with other content."""
        before = self._seen.get(verdict.key)
        if before is not None:
            if before != verdict:
                raise NotValid(f"two contents of {verdict.key}")
            return False
        self._seen[verdict.key] = verdict
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return True


def _state_dict(state):
    return dict(online=state.online, ready=state.ready, epoch=state.epoch)


def _mask_dict(mask):
    plain = dataclasses.asdict(mask)
    if mask.pixels is not None:
        plain["pixels"] = mask.pixels.hex()
    return plain


# Last level of a topic -> how its payload is read and shown.
READERS = {
    "verdict": (read_verdict, dataclasses.asdict),
    "hist": (read_verdict, dataclasses.asdict),
    "last": (read_verdict, dataclasses.asdict),
    "vbin": (read_record, dataclasses.asdict),
    "state": (read_state, _state_dict),
    "hb": (read_heartbeat, lambda count: {"count": count}),
    "mask": (read_mask, _mask_dict),
}


def main(lines, out):
    """Decodes lines of topic and payload in hexadecimal. 1 when one was not valid, else 0."""
    worst = 0
    for line in lines:
        topic, _, text = line.strip().partition(" ")
        reader, show = READERS.get(topic.rpartition("/")[2], (None, None))
        if reader is None:
            continue
        shown = {"topic": topic}
        try:
            shown.update(show(reader(bytes.fromhex(text))))
        except ValueError as problem:
            shown["not_valid"], worst = str(problem), 1
        print(json.dumps(shown), file=out, flush=True)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.stdin, sys.stdout))
