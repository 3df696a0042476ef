"""Runs an exported model in onnxruntime and writes map and score as raw little-endian float32.

  python ort_parity.py model.onnx image.bin out.bin

image.bin holds the input picture's bytes. The model is checked by `onnx.checker` first.
Needs numpy, onnx and onnxruntime. Called by the test `onnxruntime_gives_the_same_map`.
"""
import sys

import numpy as np
import onnx
import onnxruntime


def main(model, image, out):
    onnx.checker.check_model(onnx.load(model), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.type) == ("image", "tensor(uint8)"), (given.name, given.type)
    picture = np.fromfile(image, np.uint8).reshape(given.shape)
    maps, score = session.run(["anomaly_map", "score"], {"image": picture})
    assert maps.dtype == score.dtype == np.float32
    assert maps.ndim == 4 and maps.shape[:2] == (1, 1) and score.shape == (1,), (maps.shape, score.shape)
    np.concatenate([maps.ravel(), score]).astype("<f4").tofile(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
