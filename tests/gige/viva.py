"""The camera of viva-genicam, told what to do by lines: "revoke", "triggers", "quit"."""

import json
import sys

from viva_genicam.testing import FakeGigeCamera

options = json.loads(sys.argv[1])
options["drop_packets"] = [tuple(pair) for pair in options.get("drop_packets", [])]
with FakeGigeCamera(**options) as camera:
    print("ready", flush=True)
    for line in sys.stdin:
        word = line.strip()
        if word == "revoke":
            camera.revoke_control()
            print("revoked", flush=True)
        elif word == "triggers":
            print(camera.software_triggers(), flush=True)
        else:
            break
