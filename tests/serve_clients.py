"""Asks a server with the clients of other projects: serve_clients.py FOLDER

FOLDER has the server's log in `log`, its first line with the address, and in `expected.jsonl` what `predict --json` says
of the first test images of the sample.
"""

import gzip
import http.client
import json
import pathlib
import struct
import sys
import zlib

import numpy as np
import tritonclient.http
import tritonclient.utils
from huggingface_hub import InferenceClient

KEY = "s3cret"
IMAGES = "src/data/sample/t10k-images-idx3-ubyte.gz"


def png(pixels):
    """A grey PNG of (28, 28) pixels."""

    def chunk(kind, content):
        sum_ = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum_)

    head = struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def check_whole_first(url):
    """Python's http.client sends all of a body before it reads anything: it must get the answer all the same."""
    connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"))
    connection.request("POST", "/predict", b"7" * (20 << 20), {"Authorization": f"Bearer {KEY}"})
    answer = connection.getresponse()
    assert answer.status == 413 and "larger" in json.loads(answer.read())["error"], answer.status
    print("http.client: 20 MB are refused with 413")


def main():
    folder = pathlib.Path(sys.argv[1])
    url = json.loads((folder / "log").read_text().splitlines()[0])["url"]
    expected = [json.loads(line) for line in (folder / "expected.jsonl").read_text().splitlines()]
    probabilities = np.array([line["probabilities"] for line in expected])
    images = np.frombuffer(gzip.open(IMAGES).read(), np.uint8, offset=16).reshape(-1, 28, 28)
    images = images[: len(expected)]

    client = InferenceClient(model=url + "predict", token=KEY)
    for image, line, row in zip(images, expected, probabilities):
        found = client.image_classification(png(image))
        assert found[0].label == str(line["label"]), (found, line)
        scores = [next(item.score for item in found if item.label == str(label)) for label in range(10)]
        np.testing.assert_allclose(scores, row, atol=1e-5)
        few = client.image_classification(png(image), top_k=2)
        assert [item.label for item in few] == [item.label for item in found[:2]]
        logits = client.image_classification(png(image), function_to_apply="none")
        exps = np.exp([next(item.score for item in logits if item.label == str(label)) for label in range(10)])
        np.testing.assert_allclose(exps / exps.sum(), row, atol=1e-5)
    print(f"huggingface_hub: {len(expected)} pictures told as predict tells them")

    headers = {"Authorization": f"Bearer {KEY}"}
    client = tritonclient.http.InferenceServerClient(url.removeprefix("http://").rstrip("/"))
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("digits", headers=headers)
    metadata = client.get_model_metadata("digits", headers=headers)
    assert metadata["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 28, 28]}], metadata
    for binary in [True, False]:
        tensor = tritonclient.http.InferInput("pixels", images.shape, "UINT8")
        tensor.set_data_from_numpy(images, binary_data=binary)
        wanted = [tritonclient.http.InferRequestedOutput(name, binary_data=binary) for name in ["probabilities", "label"]]
        for outputs in [None, wanted]:
            # A copy: the client adds headers of the request to it.
            found = client.infer("digits", [tensor], outputs=outputs, headers=dict(headers), request_id="1")
            np.testing.assert_allclose(found.as_numpy("probabilities"), probabilities, atol=1e-5)
            np.testing.assert_array_equal(found.as_numpy("label"), [line["label"] for line in expected])
            found = client.infer("digits", [tensor], model_version="1", headers=dict(headers))
            np.testing.assert_allclose(found.as_numpy("probabilities"), probabilities, atol=1e-5)
        # Texts of probability, number and name.
        wanted = [tritonclient.http.InferRequestedOutput("probabilities", binary_data=binary, class_count=3)]
        found = client.infer("digits", [tensor], outputs=wanted, headers=dict(headers)).as_numpy("probabilities")
        assert found.shape == (len(expected), 3), found
        for texts, line, row in zip(found, expected, probabilities):
            texts = [text.decode() if isinstance(text, bytes) else text for text in texts]
            probability, number, name = texts[0].split(":")
            assert (int(number), name) == (line["label"], str(line["label"])), (texts, line)
            np.testing.assert_allclose(float(probability), row.max(), atol=1e-5)
    assert client.is_model_ready("digits", "1", headers=headers)
    assert client.get_model_metadata("digits", "1", headers=headers) == metadata
    try:
        client.infer("digits", [tensor], headers=dict(headers), sequence_id=7, sequence_start=True)
        raise AssertionError("a sequence was not refused")
    except tritonclient.utils.InferenceServerException as error:
        assert "sequence" in str(error), error
    check_whole_first(url)
    print("tritonclient: the same, with binary tensors and with JSON, by version, by class")


main()
