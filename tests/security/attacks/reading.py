"""Secrets: hidden checks, solutions, other submissions, the gradebook, the environment, the memory of others.

``{field}`` is a directory outside of everything that a submission may see; the test puts a file ``secret`` there,
and listens on ``{port}`` of the loopback device and on the socket ``{field}/unix``.
"""

from attack import BOTH, Attack, spy

A = Attack


def thief(name: str, tries: str, code: str, **more: object) -> Attack:
    return Attack(name, tries, spy(code), earns={}, levels=BOTH, **more)  # type: ignore[arg-type]


ATTACKS = [
    thief(
        "a file outside",
        "opens a file that the instructor can read",
        "loot = open('{field}/secret').read()",
        works_without_walls=True,
    ),
    thief(
        "a directory outside",
        "lists a directory of the instructor's",
        "loot = os.listdir('{field}')",
        works_without_walls=True,
    ),
    thief(
        "a gradebook",
        "asks the database for everybody's points",
        "import sqlite3\nwith sqlite3.connect('file:{field}/gradebook.db?mode=ro', uri=True) as db:\n"
        "    loot = db.execute('select score from grade').fetchall()",
        works_without_walls=True,
    ),
    thief(
        "the feedback of others",
        "reads what somebody else was told",
        "loot = open('{field}/feedback.html').read()",
        works_without_walls=True,
    ),
    thief(
        "path traversal",
        "climbs out of its own directory",
        "loot = open('../' * 40 + '{field}/secret').read()",
        works_without_walls=True,
    ),
    thief(
        "a symbolic link to a file outside",
        "reads through a link in its own directory",
        "os.symlink('{field}/secret', 'link')\nloot = open('link').read()",
        works_without_walls=True,
    ),
    thief(
        "a hard link to a file outside",
        "a second name for somebody else's file",
        "os.link('{field}/secret', 'hard')\nloot = open('hard').read()",
    ),
    thief(
        "/proc/self/root",
        "the root directory by another name",
        "loot = open('/proc/self/root{field}/secret').read()",
        works_without_walls=True,
    ),
    thief(
        "/proc/self/cwd",
        "its own directory by another name, and up from there",
        "loot = open('/proc/self/cwd/' + '../' * 40 + '{field}/secret').read()",
        works_without_walls=True,
    ),
    thief(
        "openat2 and open_by_handle_at",
        "system calls below open",
        "libc = ctypes.CDLL(None)\nfd = libc.syscall(257, -100, b'{field}/secret', 0)\n"
        "loot = os.read(fd, 10) if fd >= 0 else None",
        works_without_walls=True,
    ),
    thief(
        "the hidden checks",
        "reads and imports the hidden checks of this chapter",
        "import importlib\ntry:\n    loot = open('{root}/autograder/hidden/__init__.py').read() or 'empty'\n"
        "except OSError:\n    loot = importlib.import_module('autograder.hidden')",
        works_without_walls=True,
    ),
    thief(
        "the solutions",
        "reads the sources that authors edit",
        "loot = open('{root}/solutions/01_tokenization.py').read(50)",
        works_without_walls=True,
    ),
    thief(
        "the reference",
        "reads the reference of the chapter that is being graded",
        "import glob\nloot = glob.glob('{root}/course_lib/tokenization/*.py')",
        works_without_walls=True,
    ),
    thief(
        "every place on the path",
        "looks for a second installation of the course",
        "loot = [p for p in sys.path if os.path.isdir(os.path.join(p, 'autograder', 'hidden'))]\n"
        "loot += [d for d in ('autograder.hidden', 'autograder.judge.grading', 'autograder.exercises.tokenization') "
        "if d in sys.modules]",
    ),
    thief(
        "the exercises of this chapter",
        "imports the graded chapter's own exercises, with public oracles",
        "import autograder.exercises.tokenization as loot",
    ),
    thief(
        "the user's home directory",
        "keys, histories and configuration",
        "loot = ['{home}', *os.listdir('{home}')]",
        works_without_walls=True,
    ),
    thief(
        "password files", "who else is on this machine", "loot = open('/etc/passwd').read()", works_without_walls=True
    ),
    thief(
        "the environment",
        "tokens of the instructor's shell",
        "text = str(dict(os.environ)) + open('/proc/self/environ').read()\nloot = 'hunter2' in text",
    ),
    thief(
        "other processes",
        "command lines and environments of everything that runs",
        "for pid in [p for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()]:\n    try:\n"
        "        loot = open(f'/proc/{pid}/cmdline').read() or loot\n    except OSError:\n        pass",
        works_without_walls=True,
    ),
    thief(
        "the command line of the grading process",
        "paths and settings of the judge",
        "loot = [a for a in sys.argv + sys.orig_argv if 'secret' in a or 'hidden' in a or '{root}' == a]",
    ),
    thief(
        "inherited descriptors",
        "files and sockets that were open before the fork",
        "found = []\nfor n in range(3, 256):\n    try:\n        target = os.readlink(f'/proc/self/fd/{n}')\n"
        "    except OSError:\n        continue\n    if not target.startswith('/proc'):\n        found.append(target)\n"
        "loot = [t for t in found if not t.startswith('socket:')] or found[1:]",
    ),
    thief(
        "objects of the zygote",
        "everything that the garbage collector knows, after unfreezing it",
        "gc.unfreeze()\nloot = [repr(o)[:80] for o in gc.get_objects() if isinstance(o, dict) and "
        "any(isinstance(k, str) and (k.startswith('doubles_neg') or k in ('HiddenDouble', 'RELEASED')) for k in o)]",
    ),
    thief(
        "all of its memory",
        "searches the memory it shares with the zygote for the secret and the hidden check",
        "needles = re.compile(b'doubles_negative_number[s]|a secret for attack[s]|hunter[2]')\n"
        "known = re.compile(b'autograder.judge.chil[d]')\nseen, spied = False, None\n"
        "with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', 0) as memory:\n"
        "    for line in maps.read().splitlines():\n        a, b = (int(n, 16) for n in line.split()[0].split('-'))\n"
        "        if 'rw' not in line or 'v' in line[-6:]:\n            continue\n        try:\n"
        "            for at in range(a, b, 2**24):\n                memory.seek(at)\n"
        "                data = memory.read(min(2**24, b - at))\n                seen = seen or known.search(data)\n"
        "                spied = spied or needles.search(data)\n        except (OSError, ValueError, OverflowError):\n"
        "            continue\nloot = spied or (None if seen else 'the search does not work')",
        limits={"cell_seconds": 30.0, "cells_seconds": 60.0},
    ),
    thief(
        "expected values in a message",
        "the sentence of a check that has failed before",
        "gc.unfreeze()\nloot = [o for o in gc.get_objects() if type(o).__module__.startswith('autograder') and "
        "type(o).__name__ in ('Result', 'Report', 'Check', 'Event', 'Mistake')]",
    ),
    thief(
        "files of the submission before",
        "whatever an earlier submission left behind",
        "loot = os.listdir('.') + os.listdir(os.path.join(os.path.dirname(os.getcwd())))\n"
        "loot = [name for name in loot if 'left' in name]",
    ),
    thief(
        "where the others are",
        "the directories of other submissions that are graded at the same time",
        "here = os.path.dirname(os.getcwd())\nloot = [f for d in os.listdir(here) for f in "
        "os.listdir(os.path.join(here, d)) if 'left' in f]",
    ),
    thief(
        "the kernel's log and keys",
        "dmesg, keyrings, performance counters",
        "libc = ctypes.CDLL(None)\nbuffer = ctypes.create_string_buffer(100)\n"
        "calls = [libc.syscall(103, 3, buffer, 100), libc.syscall(250, 0, -3, 1), libc.syscall(298, 0, 0, -1, -1, 0)]\n"
        "loot = [n for n in calls if n > 0]",
    ),
    # The network.
    thief(
        "TCP on the loopback device",
        "a server that the instructor runs, JupyterLab for example",
        "s = socket.create_connection(('127.0.0.1', {port}), 2)\nloot = 'connected'",
        works_without_walls=True,
    ),
    thief(
        "UDP",
        "a datagram to the outside, a question to a name server",
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.sendto(b'x', ('127.0.0.1', {port}))\nloot = 'sent'",
        works_without_walls=True,
    ),
    thief(
        "TCP to the outside",
        "a connection to any address",
        "s = socket.socket()\ns.settimeout(1)\ns.connect(('192.0.2.1', 80))\nloot = 'connected'",
    ),
    thief(
        "listening",
        "waits for visitors",
        "s = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\nloot = s.getsockname()",
        works_without_walls=True,
    ),
    thief(
        "a unix socket",
        "a service of this machine, docker for example",
        "s = socket.socket(socket.AF_UNIX)\ns.connect('{field}/unix')\nloot = 'connected'",
        works_without_walls=True,
    ),
    thief(
        "an abstract socket",
        "a unix socket without a file",
        "s = socket.socket(socket.AF_UNIX)\ns.connect('\\0{abstract}')\nloot = 'connected'",
        works_without_walls=True,
    ),
    thief(
        "IPv6, netlink and raw sockets",
        "families that are often forgotten",
        "for family, kind in ((10, 1), (16, 3), (17, 3), (2, 3), (40, 1), (38, 5)):\n    try:\n"
        "        loot = socket.socket(family, kind)\n    except OSError:\n        pass",
    ),
    thief(
        "io_uring",
        "system calls through a queue that a filter does not see",
        "libc = ctypes.CDLL(None)\nloot = libc.syscall(425, 8, ctypes.create_string_buffer(200)) >= 0",
    ),
    thief(
        "a download",
        "what an honest student may try, too",
        "import urllib.request\nloot = urllib.request.urlopen('http://127.0.0.1:{port}/', timeout=2).read()",
    ),
]
