"""Read external media from files, stores, archives or records, as samples store them: fitted JPEGs, 16 kHz mono PCM16.

Media that already have that form are copied byte for byte: a second JPEG encoding would lose quality.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from manifests import storage
from ola.geometry import Fit, Size, frame_indices, image_size, video_size
from pipeline.errors import BadMedia
from pipeline.importing.containers import read_member, split_member_uri
from pipeline.importing.references import Reference
from pipeline.media.audio import wav_bytes
from pipeline.steps.extract import ExtractSettings

PATCH_MS = 1000  # between frames of a patch: patches store no times; their frames were sampled at about 1 Hz
HEAD = 44  # bytes before the samples of a canonical WAV
ORIENTATION = 0x0112  # EXIF
FORMATS = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "PPM",
)  # only some formats of PIL: others start external programs


@dataclass(frozen=True)
class FrameSequence:
    """JPEGs with their times in ms, and the length of the video in ms.

    size: of the first JPEG; of all JPEGs if `sizes` is empty.
    """

    jpegs: tuple[bytes, ...]
    size: Size
    ms: tuple[int, ...]
    length: int
    sizes: tuple[Size, ...] = ()


class MediaReader:
    """Reads the media of references; relative paths are relative to `folder`."""

    def __init__(self, folder: str) -> None:
        """folder: a path or a URI."""
        self.folder = folder

    def read_image(self, reference: Reference) -> FrameSequence:
        """Return an image at the pixel size of images."""
        jpeg, size = fit_jpeg(next(self._read_parts(reference, [0])), image_size)
        return FrameSequence((jpeg,), size, (0,), 0)

    def read_images(self, references: Sequence[Reference]) -> FrameSequence:
        """Return several images, each at the pixel size of images."""
        images = [self.read_image(reference) for reference in references]
        sizes = tuple(image.size for image in images)
        return FrameSequence(tuple(image.jpegs[0] for image in images), sizes[0], (0,) * len(images), 0, sizes)

    def read_video(self, reference: Reference, frames: int) -> FrameSequence:
        """Return at most `frames` evenly spaced frames: of a file as `extract` does, of a patch as the trainer does.

        Raises BadMedia if the frames of a patch or list have different sizes.
        """
        if not reference.sizes and not reference.frames:
            with self._local_file(reference) as path:
                return _decode_video(path, frames)
        count = len(reference.frames or reference.sizes)
        indices = frame_indices(count, min(frames, count))
        fitted = [fit_jpeg(data, video_size, reference.swapped) for data in self._read_frames(reference, indices)]
        sizes = {size for _, size in fitted}
        if len(sizes) > 1:
            raise BadMedia("frames of several sizes", ", ".join(f"{w}x{h}" for w, h in sorted(sizes)))
        ms = tuple(PATCH_MS * n for n in indices)
        return FrameSequence(tuple(jpeg for jpeg, _ in fitted), sizes.pop(), ms, PATCH_MS * count)

    def read_sound(self, reference: Reference) -> bytes:
        """Return a sound as WAV (16 kHz mono PCM16); the bytes of such a WAV are returned unchanged."""
        if reference.sizes:
            data = next(self._read_parts(reference, [0]))
            if _is_canonical_wav(data):
                return data
            with _temporary_file(data) as path:
                return _decode_sound(path)
        with self._local_file(reference) as path:
            with open(path, "rb") as file:
                head = file.read(HEAD)
                data = head + file.read() if head.startswith(b"RIFF") else b""
            return data if _is_canonical_wav(data) else _decode_sound(path)

    def _embedded_bytes(self, reference: Reference) -> bytes | None:
        """Return the bytes stored in the record or in an archive; None if the reference is a plain file."""
        if reference.data is not None:
            return reference.data
        member_uri = None if reference.sizes else split_member_uri(reference.path)
        if member_uri is None or storage.exists(self._resolve(reference)):
            return None
        archive, name = member_uri
        return read_member(self._resolve(Reference(archive)), name)

    def _existing_uri(self, reference: Reference) -> str:
        uri = self._resolve(reference)
        if not storage.exists(uri):
            raise BadMedia("no such file", reference.path)
        return uri

    def _resolve(self, reference: Reference) -> str:
        if not storage.is_local(reference.path) and not reference.path.startswith(f"{self.folder}/"):
            raise BadMedia("a URI outside --media", reference.path)
        absolute = os.path.isabs(reference.path) or not storage.is_local(reference.path)
        return reference.path if absolute else storage.join(self.folder, reference.path)

    @contextmanager
    def _local_file(self, reference: Reference) -> Iterator[str]:
        if (data := self._embedded_bytes(reference)) is not None:
            with _temporary_file(data) as path:
                yield path
            return
        uri = self._existing_uri(reference)
        with tempfile.TemporaryDirectory() as scratch:
            yield storage.fetch(uri, scratch)

    def _read_frames(self, reference: Reference, indices: Sequence[int]) -> Iterator[bytes]:
        """Yield the bytes of the `kept` frames of a patch or of a list of images."""
        if not reference.frames:
            yield from self._read_parts(reference, indices)
        for n in indices if reference.frames else ():
            yield from self._read_parts(reference.frames[n], [0])

    def _read_parts(self, reference: Reference, indices: Sequence[int]) -> Iterator[bytes]:
        """Yield the bytes of the `kept` parts of a patch, or of the whole file."""
        if (data := self._embedded_bytes(reference)) is not None:
            yield data
            return
        uri = self._existing_uri(reference)
        if not reference.sizes:
            yield storage.read_bytes(uri)
            return
        file = storage.open_random(uri)
        if reference.start + sum(reference.sizes) > file.size():
            raise BadMedia("the patch file is too short for its media", f"{reference}; it has {file.size()} bytes")
        for n in indices:
            data = file.read_at(reference.sizes[n], reference.start + sum(reference.sizes[:n]))
            yield _decode_base64(data) if reference.base64 else data


@contextmanager
def _temporary_file(data: bytes) -> Iterator[str]:
    """Write bytes to a temporary file for readers that need a path; yield its path."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.name


def fit_jpeg(data: bytes, fit: Callable[[int, int], Fit], swapped: bool = False) -> tuple[bytes, Size]:
    """Return a picture as a JPEG at the size of `fit`. Raises BadMedia if the picture cannot be decoded.

    A JPEG of this size is returned unchanged. swapped: swap red and blue.
    """
    from PIL import Image, UnidentifiedImageError

    from ola.pictures import fit as fit_image
    from ola.pictures import rgb

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.load()
            unchanged = image.format == "JPEG" and image.mode == "RGB" and image.getexif().get(ORIENTATION, 1) == 1
            if unchanged and not swapped and fit(*image.size).size == image.size:
                return data, image.size
            upright = rgb(image)
    except UnidentifiedImageError as error:
        raise BadMedia("not a picture") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadMedia("the picture cannot be decoded", " ".join(str(error).split())) from error
    geometry = fit(*upright.size)
    pixels = fit_image(upright, geometry)
    sink = io.BytesIO()
    picture = Image.fromarray(pixels[..., ::-1] if swapped else pixels)
    picture.save(sink, "JPEG", quality=ExtractSettings().quality)
    return sink.getvalue(), geometry.size


def _decode_video(path: str, frames: int) -> FrameSequence:
    from pipeline.media.audio_extraction import ClipRequest
    from pipeline.media.probe import probe
    from pipeline.media.recordings import extract_clip
    from pipeline.media.render import FrameRenderer
    from pipeline.steps.extract import Frames

    facts = probe(path)
    if facts is None:
        raise BadMedia("not a video: the file has no video stream")
    length = max(1, round(facts.duration * 1000))
    renderer = FrameRenderer.for_video(facts, ExtractSettings().quality)
    request = ClipRequest(0, length, Frames(policy="count", count=frames).times(0, facts.duration))
    clip_media = extract_clip(path, facts, request, renderer, sound=False)
    if not clip_media.frames:
        raise BadMedia("no frame can be decoded")
    return FrameSequence(
        tuple(jpeg for _, jpeg in clip_media.frames), renderer.size, tuple(ms for ms, _ in clip_media.frames), length
    )


def _is_canonical_wav(data: bytes) -> bool:
    return len(data) > HEAD and len(data) % 2 == 0 and wav_bytes(data[HEAD:]) == data


def _decode_sound(path: str) -> bytes:
    import numpy as np

    from ola.features import mono16k
    from pipeline.media.user_media import load_sound

    try:
        samples = mono16k(load_sound(path))
    except BadMedia as error:  # its reason begins with the path, and reasons are counted
        raise BadMedia("no sound can be decoded", str(error)) from error
    except ValueError as error:
        raise BadMedia("the file has no sound", str(error)) from error
    pcm = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2")
    return wav_bytes(pcm.tobytes())


def _decode_base64(data: bytes) -> bytes:
    try:
        return base64.b64decode(data)
    except binascii.Error as error:
        raise BadMedia("the patch is not base64", str(error)) from error


def count_pcm_samples(sound: bytes) -> int:
    """Return the number of samples of a canonical WAV (16 kHz mono PCM16)."""
    return (len(sound) - HEAD) // 2
