"""A program that ``--processes`` starts in tests: it keeps the connection to its parent and needs no torch."""

import os
import signal
import sys
import time

from landscape.processes.launch import launch
from landscape.processes.starting import parent
from landscape.processes.watching import watched


def main():
    folder, fault, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
    here = launch()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with watched(here, parent=parent()) as watch:
        print(f"rank {here.rank}", flush=True)
        with open(f"{folder}/{here.rank}", "w") as file:
            file.write(str(os.getpid()))
        os.rename(
            f"{folder}/{here.rank}", f"{folder}/{here.rank}.pid"
        )  # which whoever waits for it reads at once
        if fault == "well":
            return 0
        if here.rank == at:
            time.sleep(0.2)
            if fault == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "silent":
                os._exit(9)
            if fault == "input":
                return watch.end(3, "Error: no such file", follows=False)
        if fault == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            time.sleep(60)
        except SystemExit:
            return watch.end(143, "Interrupted", follows=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
