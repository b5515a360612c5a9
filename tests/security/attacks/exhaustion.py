# ruff: noqa: E501
"""Time, memory, threads, files, output: more of it than there is."""

from attack import BOTH, Attack

RETURN = "\ndef apply(f, xs):\n    return [f(x) for x in xs]\n"


def A(name: str, tries: str, submission: object, **more: object) -> Attack:
    """In `apply`, which no other exercise uses: there the time limit has to pass only once."""
    replaced = {"apply": submission} if isinstance(submission, str) else submission
    return Attack(name, tries, replaced, **{"earns": {"apply": 0}} | more)  # type: ignore[arg-type]


SLOW = {"cell_seconds": 2.0, "extra_cell_seconds": 2.0}
ATTACKS = [
    A(
        "endless loop",
        "never returns",
        "def apply(f, xs):\n    while True:\n        pass\n",
        says="did not finish within 1.5 seconds",
        waits=True,
        levels=BOTH,
    ),
    A("sleep", "waits", "import time\ndef apply(f, xs):\n    time.sleep(1000)\n", says="did not finish", waits=True),
    A(
        "loop that swallows interrupts",
        "catches everything that would stop it",
        "import time\ndef apply(f, xs):\n    while True:\n        try:\n            time.sleep(1)\n"
        "        except BaseException:\n            pass\n",
        says="could not be interrupted|did not finish",
        waits=True,
    ),
    A(
        "endless loop in a cell",
        "the definition stands below it",
        "while True:\n    pass\n" + RETURN,
        earns={},
        says="ran out of time",
        limits=SLOW,
    ),
    A(
        "endless loop in C",
        "one instruction that takes for ever",
        "def apply(f, xs):\n    return sum(range(10**14))\n",
        says="did not finish",
        waits=True,
    ),
    A(
        "a regular expression that explodes",
        "backtracking without end",
        "import re\ndef apply(f, xs):\n    return re.match('(a+)+$', 'a' * 60 + 'b')\n",
        says="did not finish|not be interrupted",
        waits=True,
    ),
    A(
        "threads that work on",
        "burn the processor after the answer was given",
        "import threading\ndef burn():\n    while True:\n        pass\ndef apply(f, xs):\n"
        "    threading.Thread(target=burn, daemon=True).start()\n    return [f(x) for x in xs]\n",
        earns={},
        levels=BOTH,
    ),
    A(
        "thread bomb",
        "as many threads as the machine gives",
        "import threading, time\nthreading.stack_size(65536)\ndef apply(f, xs):\n    try:\n        while True:\n"
        "            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "    except RuntimeError:\n        time.sleep(20)\n        return [f(x) for x in xs]\n",
        says="threads",
        levels=BOTH,
    ),
    A(
        "fork bomb",
        "doubles until nothing is left",
        "import os\ndef apply(f, xs):\n    while True:\n        os.fork()\n",
        says="PermissionError",
        levels=BOTH,
    ),
    A(
        "memory bomb",
        "one array of a terabyte",
        "def apply(f, xs):\n    return bytearray(2 ** 40)\n",
        says="MemoryError",
    ),
    A(
        "memory in small pieces",
        "lists until nothing is left",
        "def apply(f, xs):\n    hoard = []\n    while True:\n        hoard.append(bytearray(2**20) * 16)\n",
        says="MemoryError|did not",
        limits={"memory_bytes": 400 * 2**20},
        levels=BOTH,
    ),
    A(
        "memory without an address",
        "files in memory that no limit on memory sees",
        "import os\ndef apply(f, xs):\n    for n in range(40):\n        fd = os.memfd_create('m')\n"
        "        os.write(fd, bytes(2**20))\n    return 0\n",
        says="PermissionError|Operation not permitted",
        levels=BOTH,
    ),
    A(
        "descriptor bomb",
        "opens files until nothing is left",
        "import os\ndef apply(f, xs):\n    while True:\n        os.open('/dev/null', os.O_RDONLY)\n",
        says="Too many open files",
    ),
    A(
        "one large file",
        "a file without end",
        "def apply(f, xs):\n    with open('f', 'wb') as f:\n        while True:\n            f.write(bytes(2**20))\n",
        says="SIGXFSZ|File too large",
        limits={"file_bytes": 8 * 2**20},
        levels=BOTH,
    ),
    A(
        "many large files",
        "each of them small enough, all of them too large for the disk",
        "def apply(f, xs):\n    for n in range(10**6):\n        with open(f'f{n}', 'wb') as f:\n            f.write(bytes(2**20))\n",
        says="files",
        limits={"disk_bytes": 30 * 2**20},
        levels=BOTH,
    ),
    A(
        "files without a name",
        "removed while open, so that nobody sees how large they are",
        "import os, time\nhold = []\ndef apply(f, xs):\n    for n in range(100):\n        f = open('f', 'wb')\n        os.remove('f')\n"
        "        f.write(bytes(2**20))\n        f.flush()\n        hold.append(f)\n    time.sleep(20)\n    return 0\n",
        says="files",
        limits={"disk_bytes": 30 * 2**20},
        levels=BOTH,
    ),
    A(
        "a million empty files",
        "no bytes, but a directory that takes an hour to remove",
        "def apply(f, xs):\n    for n in range(10**7):\n        open(f'f{n}', 'w').close()\n",
        says="files|did not finish",
        levels=BOTH,
    ),
    A(
        "60 MB on one line",
        "prints a line that would freeze every browser",
        "def apply(f, xs):\n    print('x' * 60_000_000)\n    return 0\n",
        hides="x{5000}",
    ),
    A(
        "a million lines",
        "prints without end",
        "def apply(f, xs):\n    while True:\n        print('y' * 1000)\n",
        says="did not finish",
        waits=True,
        hides="y{5000}",
    ),
    A(
        "stderr without end",
        "the other stream",
        "import sys\ndef apply(f, xs):\n    for n in range(100):\n"
        "        sys.stderr.write('z' * 10**6)\n        import os\n        os.write(2, b'z' * 10**6)\n    return [f(x) for x in xs]\n",
        earns={},
    ),
    A(
        "a giant answer",
        "200 MB in one value",
        "import numpy as np\ndef apply(f, xs):\n    return np.zeros(200 * 2**20, dtype='int8')\n",
        says="array|int8|did not finish",
    ),
    A(
        "a list of twenty million",
        "more items than fit",
        "def apply(f, xs):\n    return [0] * 20_000_000\n",
        says="too large|cannot be read|did not finish",
        limits={"memory_bytes": 8 * 2**30},
    ),
    A(
        "a million that are right",
        "much to compare, and the difference at the very end",
        "def apply(f, xs):\n    return [f(x) for x in xs] + [1.0] * 1_000_000\n",
        says="it has length 1000020 instead of 20",
    ),
    A(
        "all its time",
        "every call is slow",
        {
            n: f"import time\ndef {n}(*a):\n    time.sleep(1.5)\n    return 0\n"
            for n in ("double", "total", "apply", "centre")
        },
        earns={"double": 0, "total": 0, "apply": 0, "centre": 0, "Tally": 0},
        says="used up its 3 seconds",
        limits={"submission_seconds": 3.0},
    ),
    A(
        "dies as often as it can",
        "each call ends the process: the judge starts another, but not for ever",
        {n: f"import os\ndef {n}(*a):\n    os._exit(0)\n" for n in ("double", "total", "apply", "centre")},
        earns={"double": 0, "total": 0, "apply": 0, "centre": 0},
        says="ended the process",
    ),
    A(
        "slow to read",
        "a value on which the check's own work takes very long",
        "def apply(f, xs):\n    return {i * (2**61 - 1): 0 for i in range(3_000)}\n",
        says="hash alike",
    ),
]
