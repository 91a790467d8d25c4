"""The zstd frames that carry shards: whole objects, and patches that begin at older content.

The agent unpacks what it fetched with this, and the publisher what it is about to offer.
"""

from collections.abc import Iterator

from backports import zstd

from mailward.errors import TrustError

_STEP_BYTES = 1024 * 1024
"""Unpacked at a time."""

_OBJECT_OPTIONS = {int(zstd.DecompressionParameter.window_log_max): 27}
"""What zstd readers accept without being asked: 128 MiB of memory."""

_PATCH_OPTIONS = {int(zstd.DecompressionParameter.window_log_max): 31}
"""A patch's frame looks back over the whole old content: up to 2 GiB, zstd's own maximum."""

PATCHED_MIN_BYTES = 8
"""Of the old content; zstd takes nothing shorter to begin at."""


def unpack_object(frame: Iterator[bytes], size_bytes: int, where: str) -> Iterator[bytes]:
    """A shard's content in steps, never more than ``size_bytes`` (S1); its hash is not checked.

    Raises TrustError, naming ``where``, when the frame is damaged or holds another size.
    """
    return _unpack(frame, zstd.ZstdDecompressor(options=_OBJECT_OPTIONS), size_bytes, where)


def unpack_patch(
    frame: Iterator[bytes], old: bytes, size_bytes: int, where: str
) -> Iterator[bytes]:
    """A shard's content, made from the ``old`` one by a patch. See ``unpack_object``."""
    if len(old) < PATCHED_MIN_BYTES:
        raise TrustError(f"{where}: a patch of {len(old)} bytes of old content, which nobody makes")
    prefix = zstd.ZstdDict(old, is_raw=True).as_prefix
    return _unpack(frame, zstd.ZstdDecompressor(prefix, options=_PATCH_OPTIONS), size_bytes, where)


def _unpack(
    frame: Iterator[bytes], decompressor: zstd.ZstdDecompressor, size_bytes: int, where: str
) -> Iterator[bytes]:
    left = size_bytes
    try:
        for compressed in frame:
            chunk = decompressor.decompress(compressed, max_length=_STEP_BYTES)
            while True:
                left -= len(chunk)
                if left < 0:
                    raise TrustError(f"{where}: unpacks to more than the {size_bytes} bytes named")
                if chunk:
                    yield chunk
                if decompressor.eof or decompressor.needs_input:
                    break
                chunk = decompressor.decompress(b"", max_length=_STEP_BYTES)
            if decompressor.eof:
                break
    except zstd.ZstdError as e:
        raise TrustError(f"{where}: not a whole zstd frame: {e}") from e
    if left or not decompressor.eof:
        raise TrustError(f"{where}: {left} of {size_bytes} bytes missing")
