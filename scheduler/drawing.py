"""The process that draws: Vega-Lite in, PNG or SVG out, until its standard input ends.

``scheduler/pictures.py`` starts it. The renderer may crash, hang or grow here without anybody else; nothing of ours is
imported, so that it starts fast. A message is its length, 4 bytes, and that many bytes: a specification as JSON one way
(``svg:`` before it asks for an SVG), the picture (or, in words, why there is none) the other.
Why a process: deploy/decisions/0005-drawing-process.md.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

SCALE = 2
"""Pixels of the picture for each CSS pixel, along each side."""
MEMORY = 1536 * 2**20
"""What the renderer may ask for, in bytes: it sets 0.6 GiB aside before it draws anything, most of it never used."""
FIRST_TO_GO = "1000"
"""When the machine runs out of memory, the kernel ends this process before any other."""
PNG, SVG = b"\x89PNG\r\n\x1a\n", b"<svg "
"""How each kind of picture begins."""
AS_SVG = b"svg:"
FACE = 'font-family="Liberation Sans"'
OF_ITS_WIDTH = 'font-family="Liberation Sans, Arimo, Arial, Helvetica, sans-serif"'
"""Whoever looks at an SVG may not have the renderer's face; these are as wide."""


def png_of(spec: str | dict[str, Any]) -> bytes:
    """This specification, drawn. It holds the interpreter's lock for 0.1 s, the first time in a process for 0.8 s."""
    from vl_convert import vegalite_to_png  # noqa: PLC0415 - a JavaScript engine, only for those who draw

    return _packed(vegalite_to_png(spec, scale=SCALE, allowed_base_urls=[]))  # nothing may be fetched


def svg_of(spec: str) -> bytes:
    """The same, its texts as texts."""
    from vl_convert import vegalite_to_svg  # noqa: PLC0415 - as above

    return str(vegalite_to_svg(spec, allowed_base_urls=[])).replace(FACE, OF_ITS_WIDTH).encode()


def _packed(png: bytes) -> bytes:
    """The same picture in a third of the bytes: the renderer packs for speed, but a mail carries it to many."""
    at = png.index(b"IDAT")
    end = at + 4 + int.from_bytes(png[at - 4 : at])
    data = b"IDAT" + zlib.compress(zlib.decompress(png[at + 4 : end]))
    return png[: at - 4] + (len(data) - 4).to_bytes(4) + data + zlib.crc32(data).to_bytes(4) + png[end + 4 :]


def framed(message: bytes) -> bytes:
    """Its length, and itself."""
    return len(message).to_bytes(4) + message


def main() -> None:
    """Answer requests, each within ``limit`` seconds; after ``idle`` seconds without one, or without a parent, end.

    The kernel's alarm clock keeps both times: while the renderer is at work, no line of Python runs.
    """
    idle, limit = (float(each) for each in sys.argv[1:])
    _keep_small()
    requests, answers = sys.stdin.buffer, _standard_output()
    signal.setitimer(signal.ITIMER_REAL, idle)
    while request := _next(requests):
        signal.setitimer(signal.ITIMER_REAL, limit)
        answer = _answer(request)
        signal.setitimer(signal.ITIMER_REAL, idle)
        answers.write(framed(answer))
        answers.flush()


def _answer(request: bytes) -> bytes:
    try:
        if request.startswith(AS_SVG):
            return svg_of(request.removeprefix(AS_SVG).decode())
        return png_of(request.decode())
    except Exception as problem:  # noqa: BLE001 - whatever a library raises, the asker is told
        return f"{type(problem).__name__}: {problem}".encode(errors="replace")


def _next(requests: BinaryIO) -> bytes:
    """The next request; empty when the other side has gone."""
    size = int.from_bytes(requests.read(4))
    request = requests.read(size)
    return request if len(request) == size else b""


def _standard_output() -> BinaryIO:
    """For answers alone: what a library prints goes where errors go."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _keep_small() -> None:
    """Bounded memory, no core dump full of customers' numbers. A sandbox may refuse; then its own limits hold."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError):  # not RLIMIT_AS: V8 reserves 64 GiB of addresses that it never touches
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)


if __name__ == "__main__":
    main()
