from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from digitserve.bench.images import LabelledImages, load_images, read_idx
from digitserve.bench.messages import build_messages
from digitserve.bench.settings import BenchError, Settings
from digitserve.v1 import recognizer_pb2 as pb

PIXELS = np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(3, 28, 28)


def idx_bytes(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("zipped", [True, False])
def test_mnist_is_found_in_every_usual_place_gzipped_or_not(tmp_path: Path, below: str, zipped: bool) -> None:
    folder = tmp_path / below
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"t10k-images-idx3-ubyte": PIXELS, "t10k-labels-idx1-ubyte": np.array([7, 2, 1], np.uint8)}
    for name, array in arrays.items():
        data = idx_bytes(array)
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)
    images = load_images(str(tmp_path))
    assert np.array_equal(images.pixels, PIXELS)
    assert images.labels is not None
    assert images.labels.tolist() == [7, 2, 1]
    assert images.class_names == tuple("0123456789")


def test_an_npz_file_brings_its_labels_if_it_has_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "both.npz", images=PIXELS, labels=np.array([1, 2, 3]))
    np.savez(tmp_path / "bare.npz", images=PIXELS)
    both, bare = load_images(str(tmp_path / "both.npz")), load_images(str(tmp_path / "bare.npz"))
    assert both.labels is not None
    assert both.labels.tolist() == [1, 2, 3]
    assert bare.labels is None


def test_strokes_are_framed_as_in_mnist() -> None:
    images = load_images("synthetic", seed=3)
    assert images.pixels.shape == (1000, 28, 28)
    assert images.labels is None
    assert not images.pixels[:, :1].any()
    assert images.pixels.reshape(1000, -1).max(1).min() > 200
    again = load_images("synthetic", seed=3)
    assert np.array_equal(images.pixels, again.pixels)


@pytest.mark.parametrize("data", [b"", b"\x00\x00\x08\x03\x00", idx_bytes(PIXELS)[:-1], b"\x00\x00\x0d\x01" + bytes(8)])
def test_a_file_that_is_no_idx_file_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t10k"
    path.write_bytes(data)
    with pytest.raises(BenchError, match="t10k"):
        read_idx(path)


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t10k.gz"
    path.write_bytes(gzip.compress(idx_bytes(PIXELS))[:50])
    with pytest.raises(BenchError, match=r"can't read .*t10k\.gz"):
        read_idx(path)


def test_a_source_that_is_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no images at nowhere"):
        load_images("nowhere")
    with pytest.raises(BenchError, match="no t10k-images-idx3-ubyte"):
        load_images(str(tmp_path))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"pictures": PIXELS}, "no array named `images`"),
        ({"images": PIXELS.astype(np.float32)}, "must be uint8"),
        ({"images": PIXELS[0]}, "must be uint8"),
        ({"images": PIXELS, "labels": np.array([1])}, "3 images, but labels of shape"),
    ],
)
def test_an_npz_file_with_the_wrong_arrays_is_refused(tmp_path: Path, arrays: dict[str, object], words: str) -> None:
    path = tmp_path / "digits.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match=words):
        load_images(str(path))


def test_a_text_file_called_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "digits.npz"
    path.write_text("hello")
    with pytest.raises(BenchError, match="can't read"):
        load_images(str(path))


def test_single_messages_hold_the_pixels_and_how_to_look_at_them() -> None:
    messages = build_messages(Settings(model="digits:1", layout="auto"), LabelledImages(PIXELS, None))
    request = pb.RecognizeRequest.FromString(messages[1])
    assert request.image.raw.pixels == PIXELS[1].tobytes()
    assert (request.model, request.layout) == ("digits:1", pb.LAYOUT_AUTO)


def test_png_messages_hold_a_png_file() -> None:
    messages = build_messages(Settings(encoding="png"), LabelledImages(PIXELS, None))
    assert pb.RecognizeRequest.FromString(messages[0]).image.encoded.startswith(b"\x89PNG")


def test_stream_messages_are_numbered() -> None:
    messages = build_messages(Settings(mode="stream"), LabelledImages(PIXELS, None))
    assert [pb.RecognizeStreamRequest.FromString(message).id for message in messages] == [0, 1, 2]


def test_the_last_batch_is_filled_up_from_the_start() -> None:
    messages = build_messages(Settings(mode="batch", batch_size=2), LabelledImages(PIXELS, None))
    batches = [pb.RecognizeBatchRequest.FromString(message) for message in messages]
    assert [batch.images for batch in batches] == [PIXELS[[0, 1]].tobytes(), PIXELS[[2, 0]].tobytes()]
    assert batches[0].layout == pb.LAYOUT_FRAMED
