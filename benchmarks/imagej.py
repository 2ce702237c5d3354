"""ImageJ inside Python: how long until the first script is done, and what an image costs there and back.

::

    python benchmarks/imagej.py --rounds 15

The first figure is taken in fresh processes, by the clock on the wall: the time until Python has imported torch and
demis_ij, Java is up, and the first script has given its output. The second sets an image that goes to ImageJ and comes
back beside ``numpy.copy`` of the same image, in turn, in processor seconds of all threads, Java's included.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import numpy as np

FIRST_SCRIPT = """
import time; begun = time.perf_counter()
from demis_ij import imagej
session = imagej.start(); up = time.perf_counter()
said = session.run_script("#@ String name\\n#@output String said\\nsaid = 'hello ' + name\\n", {"name": "you"})
if said != {"said": "hello you"}: raise SystemExit(f"the script said {said}")
print(up - begun, time.perf_counter() - begun, time.process_time())
"""


def first_scripts(rounds: int) -> list[tuple[float, float, float]]:
    """Return (session up, first script done) in s by the clock, and processor s, of fresh processes."""
    times = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", FIRST_SCRIPT], capture_output=True, text=True, check=True)
        up, script, processor = map(float, done.stdout.split()[-3:])
        times.append((up, script, processor))
    return times


def there_and_back(array: np.ndarray, rounds: int) -> tuple[list[float], list[float], list[float]]:
    """Return processor s of numpy.copy, of the way to ImageJ and of the way back, one of each a round."""
    from demis_ij import imagej

    session = imagej.start()
    copies, there, back = [], [], []
    for number in range(rounds + 5):  # the first five warm both sides up
        times = [time.process_time()]
        kept = np.copy(array)
        times.append(time.process_time())
        picture = session.to_imageplus(array)
        times.append(time.process_time())
        returned = picture.to_numpy()
        times.append(time.process_time())
        if number == 0 and not np.array_equal(returned, kept):
            raise SystemExit("what came back is not what went there")
        picture.close()
        if number >= 5:
            steps = np.diff(times)
            copies.append(steps[0]), there.append(steps[1]), back.append(steps[2])
    return copies, there, back


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="images there and back, of each type")
    parser.add_argument("--starts", type=int, default=3, help="fresh processes")
    parser.add_argument("--side", type=int, default=4096, help="px")
    arguments = parser.parse_args()
    print("| fresh process | session up (s) | first script done (s) | processor (s) |\n|---|---|---|---|")
    for number, (up, script, processor) in enumerate(first_scripts(arguments.starts), 1):
        print(f"| {number} | {up:.1f} | {script:.1f} | {processor:.1f} |", flush=True)
    rng = np.random.default_rng(0)
    side = arguments.side
    images = {
        "uint8": rng.integers(0, 2**8, (side, side), np.uint8),
        "uint16": rng.integers(0, 2**16, (side, side), np.uint16),
        "float32": rng.random((side, side), np.float32),
        "colour": rng.integers(0, 2**8, (side, side, 3), np.uint8),
    }
    columns = ("numpy.copy (ms)", "to ImageJ (ms)", "back (ms)", "(to + back) / copy", "quarter to three quarters")
    print(f"\n| {side} x {side} | {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|")
    for name, image in images.items():
        copies, there, back = there_and_back(image, arguments.rounds)
        ratios = [(a + b) / c for c, a, b in zip(copies, there, back, strict=True)]
        medians = [1000 * statistics.median(v) for v in (copies, there, back)]
        quartiles = statistics.quantiles(ratios, n=4)
        print(f"| {name} | " + " | ".join(f"{m:.1f}" for m in medians), end=" | ")
        print(f"{quartiles[1]:.2f} | {quartiles[0]:.2f} to {quartiles[2]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
