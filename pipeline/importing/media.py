"""A medium of others, wherever it lies, in the form that samples store: fitted JPEGs, 16 kHz mono PCM16.

What has that form already is copied byte for byte; a second JPEG encoding would only lose.
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
from pipeline.importing.containers import member, parts_of
from pipeline.importing.references import Reference
from pipeline.media.audio import wav
from pipeline.steps.extract import ExtractSettings

PATCH_MS = 1000  # nobody says when the frames of a patch are shown; they were taken at about one a second
HEAD = 44  # bytes before the samples of a canonical WAV
ORIENTATION = 0x0112  # EXIF
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # not all that PIL knows: for some it starts programs


@dataclass(frozen=True)
class Film:
    """JPEGs with their times in ms, and the length of the whole in ms.

    size: of the first, and of all where there are no `sizes`.
    """

    jpegs: tuple[bytes, ...]
    size: Size
    ms: tuple[int, ...]
    length: int
    sizes: tuple[Size, ...] = ()


class Media:
    """Reads references, which are below `folder` unless they are absolute."""

    def __init__(self, folder: str) -> None:
        """folder: or URI."""
        self.folder = folder

    def picture(self, what: Reference) -> Film:
        """An image, fitted as an image."""
        jpeg, size = fitted(next(self._parts(what, [0])), image_size)
        return Film((jpeg,), size, (0,), 0)

    def pictures(self, several: Sequence[Reference]) -> Film:
        """Images, each fitted as an image."""
        drawn = [self.picture(what) for what in several]
        sizes = tuple(one.size for one in drawn)
        return Film(tuple(one.jpegs[0] for one in drawn), sizes[0], (0,) * len(drawn), 0, sizes)

    def film(self, what: Reference, frames: int) -> Film:
        """At most `frames` of a video, evenly: of a file as `extract` has them, of a patch as the original trainer."""
        if not what.sizes and not what.frames:
            with self._local(what) as path:
                return _filmed(path, frames)
        count = len(what.frames or what.sizes)
        kept = frame_indices(count, min(frames, count))
        drawn = [fitted(data, video_size, what.swapped) for data in self._frames(what, kept)]
        sizes = {size for _, size in drawn}
        if len(sizes) > 1:
            raise BadMedia("frames of several sizes", ", ".join(f"{w}x{h}" for w, h in sorted(sizes)))
        ms = tuple(PATCH_MS * n for n in kept)
        return Film(tuple(jpeg for jpeg, _ in drawn), sizes.pop(), ms, PATCH_MS * count)

    def sound(self, what: Reference) -> bytes:
        """A WAV of 16 kHz mono PCM16: the bytes themselves where they are one."""
        if what.sizes:
            data = next(self._parts(what, [0]))
            if _is_ours(data):
                return data
            with _written(data) as path:
                return _heard(path)
        with self._local(what) as path:
            with open(path, "rb") as file:
                head = file.read(HEAD)
                data = head + file.read() if head.startswith(b"RIFF") else b""
            return data if _is_ours(data) else _heard(path)

    def _carried(self, what: Reference) -> bytes | None:
        """The bytes that a record carries, or of a member of a tar; None of what is a file of its own."""
        if what.data is not None:
            return what.data
        inside = None if what.sizes else parts_of(what.path)
        if inside is None or storage.exists(self._placed(what)):
            return None
        archive, name = inside
        return member(self._placed(Reference(archive)), name)

    def _uri(self, what: Reference) -> str:
        uri = self._placed(what)
        if not storage.exists(uri):
            raise BadMedia("no such file", what.path)
        return uri

    def _placed(self, what: Reference) -> str:
        if not storage.is_local(what.path) and not what.path.startswith(f"{self.folder}/"):
            raise BadMedia("an address that is not below --media", what.path)
        absolute = os.path.isabs(what.path) or not storage.is_local(what.path)
        return what.path if absolute else storage.join(self.folder, what.path)

    @contextmanager
    def _local(self, what: Reference) -> Iterator[str]:
        if (data := self._carried(what)) is not None:
            with _written(data) as path:
                yield path
            return
        uri = self._uri(what)
        with tempfile.TemporaryDirectory() as scratch:
            yield storage.fetch(uri, scratch)

    def _frames(self, what: Reference, kept: Sequence[int]) -> Iterator[bytes]:
        """The bytes of some frames of a patch, or of a list of pictures."""
        if not what.frames:
            yield from self._parts(what, kept)
        for n in kept if what.frames else ():
            yield from self._parts(what.frames[n], [0])

    def _parts(self, what: Reference, kept: Sequence[int]) -> Iterator[bytes]:
        """The bytes of some parts of a patch, or of a whole file."""
        if (data := self._carried(what)) is not None:
            yield data
            return
        uri = self._uri(what)
        if not what.sizes:
            yield storage.read_bytes(uri)
            return
        file = storage.open_random(uri)
        if what.start + sum(what.sizes) > file.size():
            raise BadMedia("a patch file ends before its media", f"{what}; it has {file.size()} bytes")
        for n in kept:
            data = file.read_at(what.sizes[n], what.start + sum(what.sizes[:n]))
            yield _decoded(data) if what.base64 else data


@contextmanager
def _written(data: bytes) -> Iterator[str]:
    """A path to these bytes, for what reads files alone."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.name


def fitted(data: bytes, fit: Callable[[int, int], Fit], swapped: bool = False) -> tuple[bytes, Size]:
    """A picture as a JPEG at the size of `fit`. Raises BadMedia where it is none.

    A JPEG of this size is returned as it came. swapped: red and blue change places.
    """
    from PIL import Image, UnidentifiedImageError

    from ola.pictures import fit as placed
    from ola.pictures import rgb

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.load()
            plain = image.format == "JPEG" and image.mode == "RGB" and image.getexif().get(ORIENTATION, 1) == 1
            if plain and not swapped and fit(*image.size).size == image.size:
                return data, image.size
            upright = rgb(image)
    except UnidentifiedImageError as error:
        raise BadMedia("not a picture") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadMedia("a picture that cannot be decoded", " ".join(str(error).split())) from error
    how = fit(*upright.size)
    pixels = placed(upright, how)
    sink = io.BytesIO()
    drawn = Image.fromarray(pixels[..., ::-1] if swapped else pixels)
    drawn.save(sink, "JPEG", quality=ExtractSettings().quality)
    return sink.getvalue(), how.size


def _filmed(path: str, frames: int) -> Film:
    from pipeline.media.audio_extraction import ClipRequest
    from pipeline.media.probe import probe
    from pipeline.media.recordings import whole
    from pipeline.media.render import FrameRenderer
    from pipeline.steps.extract import Frames

    facts = probe(path)
    if facts is None:
        raise BadMedia("not a video: no moving picture in it")
    length = max(1, round(facts.duration * 1000))
    painter = FrameRenderer.of(facts, ExtractSettings().quality)
    cut = ClipRequest(0, length, Frames(policy="count", count=frames).times(0, facts.duration))
    shot = whole(path, facts, cut, painter, sound=False)
    if not shot.frames:
        raise BadMedia("no frame of it can be decoded")
    return Film(tuple(jpeg for _, jpeg in shot.frames), painter.size, tuple(ms for ms, _ in shot.frames), length)


def _is_ours(data: bytes) -> bool:
    return len(data) > HEAD and len(data) % 2 == 0 and wav(data[HEAD:]) == data


def _heard(path: str) -> bytes:
    import numpy as np

    from ola.features import mono16k
    from pipeline.media.user_media import hear

    try:
        samples = mono16k(hear(path))
    except BadMedia as error:  # whose reason begins with the path, which would keep reasons from being counted
        raise BadMedia("no sound can be decoded", str(error)) from error
    except ValueError as error:
        raise BadMedia("no sound in it", str(error)) from error
    pcm = np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2")
    return wav(pcm.tobytes())


def _decoded(data: bytes) -> bytes:
    try:
        return base64.b64decode(data)
    except binascii.Error as error:
        raise BadMedia("a patch that is not base64", str(error)) from error


def pcm_samples(sound: bytes) -> int:
    """How many samples a WAV of ours has."""
    return (len(sound) - HEAD) // 2
