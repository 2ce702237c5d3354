"""``python -m demis_ij.imagej``: start the embedded ImageJ, run a script, and say what runs."""

from __future__ import annotations

import sys
import time

from demis_ij.errors import DemisError
from demis_ij.imagej.session import start

SCRIPT = """
#@output String imagej
#@output String groovy
#@output String java
imagej = ij.IJ.getVersion()
groovy = GroovySystem.version
java = System.getProperty("java.version")
"""


def main() -> int:
    """Return 0 and one line on standard output when ImageJ runs; 1 and one line on standard error when not."""
    begun = time.perf_counter()
    try:
        session = start(java_options=["-XX:TieredStopAtLevel=1"])  # a short life: compile fast, not well
        found = session.run_script(SCRIPT)
    except DemisError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    seconds = time.perf_counter() - begun
    sys.stdout.write(
        f"ImageJ {found['imagej']}, Groovy {found['groovy']}, Java {found['java']} ({session.java.source}), "
        f"started in {seconds:.0f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
