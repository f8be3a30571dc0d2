"""The load test of docs/serving.md: `gradmeter serve` beside a server of one forward pass.

    OMP_NUM_THREADS=1 python examples/load.py trust seven.png

starts both, asks them in turns with ApacheBench (`apt install apache2-utils`), 1, 16 and 64 requests at once, and
prints a table of Markdown: medians of three rounds.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SERVERS = {
    "gradmeter, with gradients": [sys.executable, "-m", "gradmeter", "serve"],
    "one forward pass, no verdict": [sys.executable, str(Path(__file__).with_name("softmax_server.py"))],
}
PORT, ROUNDS = 8000, 3
# Requests of a round by how many are asked at once.
REQUESTS = {1: 150, 16: 600, 64: 600}


@contextmanager
def running(command: list[str], trust: Path, port: int) -> Iterator[None]:
    """A server that answers."""
    server = subprocess.Popen([*command, str(trust), "--port", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        if not server.stdout or not server.stdout.readline():
            sys.exit(f"{' '.join(command)} does not start")
        yield
    finally:
        server.terminate()
        server.wait()


def asked(port: int, image: Path, requests: int, at_once: int) -> list[float]:
    """Answers per second, and milliseconds within which 50, 95 and 99 % of the requests were answered."""
    address = f"http://127.0.0.1:{port}/judge"
    options = ["-q", "-l", "-n", str(requests), "-c", str(at_once), "-p", str(image), "-T", "image/png"]
    said = subprocess.run(["ab", *options, address], check=True, capture_output=True, text=True).stdout
    if "Failed requests:        0" not in said or "Non-2xx" in said:
        sys.exit(f"requests failed:\n{said}")
    found = [re.search(r"Requests per second: +([\d.]+)", said)]
    found += [re.search(rf"^ +{share}% +(\d+)", said, re.MULTILINE) for share in (50, 95, 99)]
    return [float(one[1]) for one in found if one]


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("trust", type=Path)
    parser.add_argument("image", type=Path)
    arguments = parser.parse_args()
    if not shutil.which("ab"):
        parser.error("ApacheBench (ab) is not installed: apt install apache2-utils")
    if not arguments.image.is_file():
        parser.error(f"{arguments.image} is not a file; expected an image")
    measured: dict[tuple[int, str], list[list[float]]] = defaultdict(list)
    with ExitStack() as servers:
        ports = {name: PORT + number for number, name in enumerate(SERVERS)}
        for name, port in ports.items():
            servers.enter_context(running(SERVERS[name], arguments.trust, port))
            asked(port, arguments.image, 200, 16)  # the first requests are slower
        for _ in range(ROUNDS):
            for at_once, requests in REQUESTS.items():
                for name, port in ports.items():
                    measured[at_once, name].append(asked(port, arguments.image, requests, at_once))
    print("| asking at once | server | answers per second | median | 95 % | 99 % |\n|--:|--:|--:|--:|--:|--:|")
    for (at_once, name), rounds in measured.items():
        rate, *times = map(statistics.median, zip(*rounds, strict=True))
        shown = " | ".join(f"{one:.0f} ms" for one in times)
        print(f"| {at_once} | {name} | {rate:.3g} | {shown} |")


if __name__ == "__main__":
    main()
