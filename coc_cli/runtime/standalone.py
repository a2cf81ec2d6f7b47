"""The runtime that an export carries: one file of numpy and ONNX Runtime, made of coc's own modules."""

from __future__ import annotations

import inspect
import re

from coc_cli.files.budget import IMAGE_PIXELS
from coc_cli.pixels import decoding, preparation
from coc_cli.runtime import session
from coc_cli.version import __version__

NAME = "coc_runtime.py"
_OURS = re.compile(r"^(from coc_cli\.|from __future__ ).*\n", re.MULTILINE)


def text() -> str:
    """Return the file: what decodes and prepares images, then what answers, without imports from coc."""
    parts = [_OURS.sub("", inspect.getsource(module)) for module in (decoding, preparation, session)]
    head = (
        f'"""Runs a network that coc {__version__} exported; needs numpy, onnxruntime and, for files, Pillow.\n\n'
        '    python coc_runtime.py IMAGE...\n"""\n\n'
        f"from __future__ import annotations\n\nIMAGE_PIXELS = {IMAGE_PIXELS}  # the largest image\n\n"
    )
    tail = '\n\nif __name__ == "__main__":\n    import sys\n\n    sys.exit(main(sys.argv[1:]))\n'
    return head + "\n\n".join(parts) + tail
