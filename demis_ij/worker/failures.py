"""What is said of a failure: one sentence for a dialog, then what a developer wants to see."""

from __future__ import annotations

import errno
import re
import traceback
from typing import Any

from demis_ij.errors import DemisError
from demis_ij.worker.wire import first_words

OPTIONS = re.compile(r"(?<![\w-])--([a-z][a-z-]+)")


def failure(error: BaseException) -> str:
    """Return one sentence, an empty line and the traceback."""
    trace = "".join(traceback.format_exception(error)).rstrip()
    return f"{sentence(error)}\n\n{trace}\n"


def sentence(error: BaseException) -> str:
    """Return what happened and what to do, in one line."""
    said = first_words(error)
    if isinstance(error, DemisError):
        return without_dashes(said)
    if isinstance(error, MemoryError):
        return "there is not enough memory for this: close other programs, or work on fewer sections at a time"
    if type(error).__name__ == "OutOfMemoryError":  # torch's own
        return "the device has not enough memory for this: choose the device 'cpu', or close what else uses it"
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        where = f" ({error.filename})" if error.filename else ""
        return f"the disk is full{where}; what is done is kept: free some space and start the same again"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.strerror or said}: {error.filename or 'no file named'}"
    return f"internal error, please report it: {type(error).__name__}: {said}"


def without_dashes(text: str) -> str:
    """Return a message of the command line with its options as inputs of a request are called.

    Examples
    --------
    >>> without_dashes("Stitch before annotating, or use --images-only")
    'Stitch before annotating, or use images_only'
    """
    return OPTIONS.sub(lambda found: found[1].replace("-", "_"), text)


def spelled_for_clients(outputs: dict[str, Any]) -> dict[str, Any]:
    """Return outputs whose warnings and notes name inputs as a request does."""
    told = {key: [without_dashes(line) for line in outputs[key]] for key in ("warnings", "notes") if key in outputs}
    return outputs | told
