# ruff: noqa: E501
"""Writing where nothing may be written: results, feedback, gradebook, Python itself, things that stay."""

from attack import BOTH, RETURN, Attack, spy

A = Attack


def vandal(name: str, tries: str, code: str, **more: object) -> Attack:
    return Attack(name, tries, spy(code), earns={}, levels=BOTH, **more)  # type: ignore[arg-type]


ATTACKS = [
    vandal(
        "a file outside",
        "writes where the instructor can write",
        "open('{field}/new', 'w').write('x')\nloot = 'written'",
        works_without_walls=True,
    ),
    vandal(
        "a file outside, changed",
        "changes what is there, results for example",
        "open('{field}/results.json', 'a').write('{{}}')\nloot = 'changed'",
        works_without_walls=True,
    ),
    vandal(
        "a file outside, shortened",
        "truncates by path",
        "os.truncate('{field}/results.json', 0)\nloot = 'cut'",
        works_without_walls=True,
    ),
    vandal(
        "a file outside, removed",
        "removes and renames",
        "for act in (os.remove, lambda p: os.rename(p, p + '2')):\n    try:\n        act('{field}/results.json')\n"
        "        loot = 'gone'\n    except OSError:\n        pass",
        works_without_walls=True,
    ),
    vandal(
        "the feedback of others",
        "tells somebody else something else",
        "open('{field}/feedback.html', 'w').write('nothing')\nloot = 'changed'",
        works_without_walls=True,
    ),
    vandal(
        "a gradebook",
        "opens a database and gives everybody full marks",
        "import sqlite3\nwith sqlite3.connect('{field}/gradebook.db') as db:\n    db.execute('update grade set score=99')\n"
        "loot = 'raised'",
        works_without_walls=True,
    ),
    vandal(
        "the course itself",
        "adds a line to the judge for the next submission",
        "import autograder\nopen(autograder.__file__, 'a').write('# here')\nloot = 'changed'",
    ),
    vandal(
        "Python itself",
        "adds a module for the next submission, and for the instructor",
        "place = next(p for p in sys.path if p.endswith('site-packages'))\n"
        "open(os.path.join(place, 'zz_attack.pth'), 'w').write('')\nloot = 'written'",
    ),
    vandal(
        "the directory that all submissions share",
        "a file beside its own directory",
        "open(os.path.join(os.path.dirname(os.getcwd()), 'left'), 'w').write('x')\nloot = 'written'",
    ),
    vandal(
        "temporary files",
        "the usual places for things that stay",
        "for place in ('/tmp', '/var/tmp', '/dev/shm', '/run', '/run/lock'):\n    try:\n"
        "        open(place + '/course-attack', 'w').write('x')\n        loot = place\n    except OSError:\n        pass",
        works_without_walls=True,
    ),
    vandal(
        "shared memory and queues",
        "segments that outlive a process",
        "libc = ctypes.CDLL(None)\nloot = libc.shmget(0x7007, 16, 0o1600) >= 0 or libc.msgget(0x7007, 0o1600) >= 0",
    ),
    vandal(
        "devices, pipes and links",
        "things in its own directory that trip up whoever cleans up",
        "for act in (lambda: os.mkfifo('pipe'), lambda: os.mknod('node', 0o20600, 0x103), "
        "lambda: os.symlink('/', 'root')):\n    try:\n        act()\n        loot = 'made'\n    except OSError:\n"
        "        pass",
        works_without_walls=True,
    ),
    vandal(
        "permissions of files outside",
        "opens a door for others",
        "os.chmod('{field}/secret', 0o666)\nos.utime('{field}/secret', (1, 1))\n"
        "status = os.stat('{field}/secret')\nloot = status.st_mode & 0o777 == 0o666 or status.st_mtime == 1",
        works_without_walls=True,
    ),
    vandal(
        "mount",
        "another file system over the course",
        "libc = ctypes.CDLL(None)\nloot = libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    ),
    A(
        "a file left for the next",
        "notes for a friend who is graded afterwards",
        "open('left.txt', 'w').write('the answers')\n" + RETURN,
        earns={},
        levels=BOTH,
    ),
    A(
        "a tree that cannot be removed",
        "folders nested 1,500 deep, and one that may not be entered",
        "import os, time\nhere = os.getcwd()\nfor n in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\n"
        "os.mkdir('closed', 0)\nos.chdir(here)\nos.mkdir('closed', 0)\ntime.sleep(10)\n" + RETURN,
        says="nested folders",
        levels=BOTH,
    ),
    A(
        "names that are hard to remove",
        "bytes that are no text, a newline, a name of 255 characters, a leading dash",
        "import os\nfor name in (b'\\xff\\xfe', b'a\\nb', b'-rf', b'x' * 255, b'*', b'$(touch x)'):\n"
        "    open(name, 'w').close()\n" + RETURN,
        earns={},
        levels=BOTH,
    ),
]
