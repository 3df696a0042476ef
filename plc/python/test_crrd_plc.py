"""Tests of crrd_plc over the golden files: python3 -m unittest, in this folder."""

import io
import json
import pathlib
import random
import struct
import unittest
import zlib

import crrd_plc as crrd

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"


def verdict_files():
    return sorted(p for p in GOLDEN.glob("*.json") if not p.name.startswith(("mask-", "state-")))


def forged(record, at, value):
    """The record with one byte changed and the CRC made to fit."""
    record = bytearray(record)
    record[at] = value
    order = ">" if record[:2] == b"CR" else "<"
    return bytes(record[:62]) + struct.pack(order + "H", crrd.crc16(record[:62]))


def pbm(data):
    """Size and pixels of a binary PBM file."""
    kind, size, packed = data.split(b"\n", 2)
    assert kind == b"P4"
    width, height = map(int, size.split())
    stride = (width + 7) // 8
    at = lambda x, y: packed[y * stride + x // 8] >> (7 - x % 8) & 1  # noqa: E731
    return (width, height), bytes(at(x, y) for y in range(height) for x in range(width))


class Verdicts(unittest.TestCase):
    def test_the_three_forms_of_each_golden_verdict_say_the_same(self):
        self.assertGreater(len(verdict_files()), 8)
        outcomes = set()
        for path in verdict_files():
            text = crrd.read_verdict(path.read_bytes())
            for form in ("big", "little"):
                record = crrd.read_record(path.with_suffix("." + form).read_bytes())
                self.assertEqual(text, record, path.name)
            self.assertEqual(json.loads(path.read_text()), vars(text))
            self.assertEqual(text.passed, path.name == "pass.json")
            outcomes.add(text.o)
        self.assertEqual(outcomes, {0, 1, 2, 3})

    def test_the_crc_is_the_well_known_one(self):
        self.assertEqual(crrd.crc16(b"123456789"), 0x4B37)

    def test_no_flipped_bit_of_a_record_is_taken(self):
        for form in ("big", "little"):
            record = (GOLDEN / "pass").with_suffix("." + form).read_bytes()
            for bit in range(8 * len(record)):
                bad = bytearray(record)
                bad[bit // 8] ^= 1 << bit % 8
                self.assertRaises(crrd.NotValid, crrd.read_record, bad)
            for length in range(64):
                self.assertRaises(crrd.NotValid, crrd.read_record, record[:length])
            self.assertRaises(crrd.NotValid, crrd.read_record, record + b"\0")

    def test_records_that_fit_their_crc_but_not_the_contract_are_refused(self):
        record = (GOLDEN / "pass.little").read_bytes()
        self.assertEqual(crrd.read_record(forged(record, 36, 0)).o, 0)
        for at, value in [(2, 2), (3, 63), (16, 0), (16, 47), (17, 0), (31, 65), (36, 4), (60, 1)]:
            self.assertRaises(crrd.NotValid, crrd.read_record, forged(record, at, value))

    def test_text_that_is_no_verdict_is_refused(self):
        text = (GOLDEN / "pass.json").read_text()
        bad = [
            "", "{}", "[1]", "null", text[:-1], text + "x", " " * 200 + text,
            text.replace('"v":1', '"v":2'), text.replace('"v":1', '"v":true'),
            text.replace('"o":1', '"o":4'), text.replace('"o":1', '"o":1.0'),
            text.replace('"o":1', '"o":"1"'), text.replace('"o":1', '"o":true'),
            text.replace('"o":1', '"o":0,"o":1'), text.replace('"f":', '"g":'),
            text.replace('"s":', '"s":-'), text.replace('"p":"', '"p":"/'),
            text.replace('"q":', '"q":NaN,"x":'), "[" * 100_000,
        ]
        for one in bad:
            self.assertRaises(crrd.NotValid, crrd.read_verdict, one.encode())

    def test_a_verdict_is_new_once_and_never_changes(self):
        one = crrd.read_verdict((GOLDEN / "pass.json").read_bytes())
        two = crrd.read_verdict((GOLDEN / "reject.json").read_bytes())
        seen = crrd.Seen(most=2)
        self.assertEqual([seen.is_new(v) for v in (one, two, one)], [True, True, False])
        other = crrd.Verdict(**{**vars(one), "o": 0})
        self.assertRaises(crrd.NotValid, seen.is_new, other)


class States(unittest.TestCase):
    def test_golden_states(self):
        read = lambda name: crrd.read_state((GOLDEN / name).read_bytes())  # noqa: E731
        ready, offline = read("state-ready.json"), read("state-offline.json")
        self.assertEqual((ready.online, ready.ready, ready.epoch), (True, True, 3))
        self.assertEqual((offline.online, offline.ready, offline.epoch), (False, False, 3))
        waiting = read("state-not-ready.json")
        self.assertEqual((waiting.online, waiting.ready), (True, False))

    def test_what_is_no_state_is_refused(self):
        good = (GOLDEN / "state-ready.json").read_text()
        for bad in ["", "{}", good[:-1], good.replace('"v":1', '"v":2'),
                    good.replace('"ready":1', '"ready":2')]:
            self.assertRaises(crrd.NotValid, crrd.read_state, bad.encode())


class Masks(unittest.TestCase):
    def test_golden_masks_are_decoded_pixel_by_pixel(self):
        forms = set()
        for path in sorted(GOLDEN.glob("mask-*.json")):
            mask = crrd.read_mask(path.read_bytes())
            self.assertLessEqual(len(path.read_bytes()), 8192)
            forms.add(json.loads(path.read_text()).get("enc"))
            if mask.pixels is None:
                self.assertEqual(path.name, "mask-boxes.json")
                self.assertEqual(len(mask.boxes), 8)
                continue
            size, pixels = pbm(path.with_suffix(".pbm").read_bytes())
            self.assertEqual((mask.size, mask.pixels), (size, pixels), path.name)
            # The mask covers the picture from edge to edge, up to a rounding of the affine.
            right, bottom = mask.to_picture(*mask.size)
            self.assertAlmostEqual(right, mask.picture_size[0], delta=0.01 * mask.picture_size[0])
            self.assertAlmostEqual(bottom, mask.picture_size[1], delta=0.01 * mask.picture_size[1])
        self.assertEqual(forms, {"rle", "png", None})

    def test_a_mask_of_one_of_several_cameras_says_whose_picture_it_is(self):
        golden = json.loads((GOLDEN / "mask-view.json").read_text())
        mask = crrd.read_mask(json.dumps(golden).encode())
        self.assertEqual((mask.view, mask.camera), (2, "side"))
        only = crrd.read_mask((GOLDEN / "mask-rle.json").read_bytes())
        self.assertEqual((only.view, only.camera), (None, None))
        for key, bad in (("view", 0), ("view", 9), ("view", "2"), ("cn", 2)):
            with self.assertRaises(crrd.NotValid):
                crrd.read_mask(json.dumps({**golden, key: bad}).encode())
        for key in ("view", "cn"):
            with self.assertRaises(crrd.NotValid):
                crrd.read_mask(json.dumps({k: v for k, v in golden.items() if k != key}).encode())

    def test_a_mask_of_a_turned_picture_has_its_corners_instead_of_the_affine(self):
        golden = json.loads((GOLDEN / "mask-rle.json").read_text())
        del golden["aff"]
        with self.assertRaises(crrd.NotValid):
            crrd.read_mask(json.dumps(golden).encode())
        # A quarter turn clockwise: the mask's top left is the picture's bottom left.
        golden["quad"] = [0, 2048000, 0, 0, 2448000, 0, 2448000, 2048000]
        golden["pbox"] = [[10, 20, 30, 40]] * len(golden["box"])
        mask = crrd.read_mask(json.dumps(golden).encode())
        self.assertEqual(mask.to_picture(0, 0), (0, 2048))
        self.assertEqual(mask.to_picture(256, 0), (0, 0))
        self.assertEqual(mask.to_picture(256, 128), (1224, 0))
        self.assertEqual(mask.box_in_picture(mask.boxes[0]), (10, 20, 40, 60))
        # In perspective the middle of the mask is where the diagonals cross.
        golden["quad"] = [100000, 0, 200000, 0, 300000, 100000, 0, 100000]
        x, y = crrd.read_mask(json.dumps(golden).encode()).to_picture(128, 128)
        self.assertAlmostEqual(x, 150)
        self.assertAlmostEqual(y, 25)
        for key, bad in (("quad", [0] * 7), ("quad", "x"), ("pbox", []), ("pbox", [[1, 2, 3]])):
            with self.assertRaises(crrd.NotValid):
                crrd.read_mask(json.dumps({**golden, key: bad}).encode())

    def test_damaged_masks_are_refused_whatever_is_wrong(self):
        dice = random.Random(1)
        for path in sorted(GOLDEN.glob("mask-*.json")):
            good = path.read_bytes()
            if len(good) > 4000:
                continue
            for _ in range(500):
                bad = bytearray(good)
                bad[dice.randrange(len(bad))] = dice.randrange(256)
                try:
                    crrd.read_mask(bad)
                except crrd.NotValid:
                    pass
            for key in (b'"v":1', b'"box":[', b'"mw":'):
                self.assertIn(key, good)
                self.assertRaises(crrd.NotValid, crrd.read_mask, good.replace(key, b'"z":0,"z":'))

    def test_every_png_filter_is_undone(self):
        width, height = 19, 10
        dice = random.Random(2)
        pixels = bytes(dice.randrange(2) for _ in range(width * height))
        stride = 3
        rows = []
        for y in range(height):
            row = bytearray(stride)
            for x in range(width):
                row[x // 8] |= pixels[y * width + x] << (7 - x % 8)
            rows.append(bytes(row))
        raw = b""
        for y, row in enumerate(rows):
            above = rows[y - 1] if y else bytes(stride)
            kind = y % 5
            line = bytearray()
            for x in range(stride):
                left, corner = (row[x - 1], above[x - 1]) if x else (0, 0)
                guess = left + above[x] - corner
                nearest = min((left, above[x], corner), key=lambda v: abs(guess - v))
                minus = [0, left, above[x], (left + above[x]) // 2, nearest][kind]
                line.append((row[x] - minus) & 255)
            raw += bytes([kind]) + line
        chunk = lambda kind, body: (  # noqa: E731
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
        png = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
        self.assertEqual(crrd.decode_png(width, height, png), pixels)
        self.assertRaises(crrd.NotValid, crrd.decode_png, width, height, png[:-20])
        self.assertRaises(crrd.NotValid, crrd.decode_png, width + 1, height, png)


class Program(unittest.TestCase):
    def test_it_decodes_what_mosquitto_sub_prints(self):
        lines = [
            f"crr/s1/verdict {(GOLDEN / 'pass.json').read_bytes().hex()}\n",
            f"crr/s1/vbin {(GOLDEN / 'pass.big').read_bytes().hex()}\n",
            "crr/s1/hb 3137\n",
            "crr/s1/other 00\n",
        ]
        out = io.StringIO()
        self.assertEqual(crrd.main(lines, out), 0)
        verdict, record, heartbeat = [json.loads(line) for line in out.getvalue().splitlines()]
        self.assertEqual({**verdict, "topic": ""}, {**record, "topic": ""})
        self.assertEqual(heartbeat, {"topic": "crr/s1/hb", "count": 17})
        self.assertEqual(crrd.main(["crr/s1/verdict 00", "crr/s1/verdict zz"], io.StringIO()), 1)


if __name__ == "__main__":
    unittest.main()
