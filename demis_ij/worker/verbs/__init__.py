"""The verbs: what a request's ``script`` may name. One file a verb, imported when it is first asked for.

A verb is a `Verb` called ``VERB`` in a module of this room, and a line in `VERBS`::

    from demis_ij.worker import inputs
    from demis_ij.worker.tasks import Tell          # for type checkers only: under TYPE_CHECKING
    from demis_ij.worker.verbs import Verb

    def run(given: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
        layout = given["layout"]                    # a Path: `inputs.file` made it
        worst = given.get("worst", 5)               # not given: the verb's own default
        for n, patch in enumerate(patches):
            tell("patches", n, len(patches))        # as often as you like; a cancelled task ends here
        return {"path": written, "warnings": [...]} # paths, numpy's numbers and NaN (as null) are written for you

    VERB = Verb(run, inputs={"layout": inputs.file, "worst": inputs.whole(1, 100)}, needed=("layout",))

What a verb may rely on: every input was checked, unknown ones were refused, ``client`` is gone, an empty text and null
are absent. What it must do: raise `demis_ij.errors.InputError` for what cannot be used, with one line; leave nothing
that looks whole when it is interrupted (Ctrl-C); never print; never change what is the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from demis_ij.errors import InputError
from demis_ij.worker.inputs import Check, checked, nearest

if TYPE_CHECKING:
    from demis_ij.worker.tasks import Tell

VERBS = {
    "check": "demis_ij.worker.verbs.check",
    "plan": "demis_ij.worker.verbs.plan",
    "stitch": "demis_ij.worker.verbs.stitch",
    "compare": "demis_ij.worker.verbs.compare",
    "render": "demis_ij.worker.verbs.render",
    "matches": "demis_ij.worker.verbs.matches",
    "convert": "demis_ij.worker.verbs.convert",
    "transforms": "demis_ij.worker.verbs.transforms",
    "align": "demis_ij.worker.verbs.align",
    "register": "demis_ij.worker.verbs.register",
}
"""Name to module."""


@dataclass(frozen=True)
class Verb:
    """What can be asked for.

    Attributes
    ----------
    run : callable
        Takes the checked inputs and a `Tell`, returns the outputs.
    inputs : mapping of str to Check
        Every input it knows, and how it is checked.
    needed : tuple of str
        Inputs without which it cannot be.
    """

    run: Callable[[Mapping[str, Any], Tell], dict[str, Any]]
    inputs: Mapping[str, Check] = field(default_factory=dict)
    needed: tuple[str, ...] = ()

    def checked(self, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs as the verb works with them. Raises `InputError`."""
        return checked(name, inputs, self.inputs, self.needed)


def verb_named(name: str) -> Verb:
    """Return a verb. Raises `InputError` when there is none of that name."""
    if name not in VERBS:
        msg = f"unknown verb {name[:60]!r}{nearest(name[:60], VERBS)}"
        raise InputError(msg)
    verb: Verb = import_module(VERBS[name]).VERB
    return verb
