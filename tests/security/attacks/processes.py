# ruff: noqa: E501
"""Ends, signals, other processes: what a submission does to itself, to the zygote and to what comes after it."""

from attack import BOTH, RETURN, Attack, spy

A = Attack
ATTACKS = [
    A(
        "os._exit",
        "ends its process with success",
        "import os\ndef double(x):\n    os._exit(0)\n",
        says="ended the process",
    ),
    A("sys.exit", "leaves with success", "import sys\ndef double(x):\n    sys.exit(0)\n", says="SystemExit"),
    A("exit in a cell", "leaves before anything is defined", "exit()\nraise SystemExit\n" + RETURN, earns={}),
    A(
        "os._exit in a cell",
        "ends the process before anything is asked",
        "import os\n" + RETURN + "os._exit(0)\n",
        says="ended the process",
    ),
    A(
        "kills itself",
        "SIGKILL",
        "import os, signal\ndef double(x):\n    os.kill(os.getpid(), signal.SIGKILL)\n",
        says="SIGKILL",
        levels=BOTH,
    ),
    A(
        "stops itself",
        "SIGSTOP: neither dead nor alive",
        {"apply": "import os, signal\ndef apply(f, xs):\n    os.kill(os.getpid(), signal.SIGSTOP)\n    return 0\n"},
        earns={"apply": 0},
        says="did not finish",
        waits=True,
    ),
    A("segfault", "reads address 0", "import ctypes\ndef double(x):\n    ctypes.string_at(0)\n", says="SIGSEGV"),
    A("abort", "SIGABRT", "import os\ndef double(x):\n    os.abort()\n", says="SIGABRT"),
    A("endless recursion", "the stack is used up", "def double(x):\n    return double(x)\n", says="RecursionError"),
    A(
        "recursion without a limit",
        "the C stack is used up, too",
        "import sys\ndef double(x):\n    sys.setrecursionlimit(10**9)\n    return repr(nest(10**6))\n"
        "def nest(n):\n    y = ()\n    for _ in range(n):\n        y = (y,)\n    return y\n",
    ),
    A("KeyboardInterrupt", "raised on purpose", "def double(x):\n    raise KeyboardInterrupt\n"),
    A(
        "an exception that cannot be read",
        "its text raises SystemExit, its type has no name",
        "class E(Exception):\n    def __str__(self):\n        raise SystemExit\n    __repr__ = __str__\n"
        "E.__name__ = 'x' * 10**6\ndef double(x):\n    raise E\n",
        hides="x{500}",
    ),
    A(
        "an exception group with a million members",
        "a traceback without end",
        "def double(x):\n    raise ExceptionGroup('many', [ValueError('y' * 10) for _ in range(10**5)])\n",
        says="ExceptionGroup",
    ),
    A(
        "NotImplementedError by another name",
        "not attempted, although something is there",
        "class E(NotImplementedError):\n    pass\ndef double(x):\n    raise E\n",
        says="not written",
    ),
    A(
        "error at import",
        "the cell fails before the definition, not after it",
        "import nothing_like_this\n" + RETURN,
        earns={},
        says="ModuleNotFoundError",
    ),
    A(
        "kills the zygote",
        "SIGKILL to its parent and to everybody",
        spy(
            "import signal\nfor pid in (os.getppid(), -1, 0, -os.getppid()):\n    try:\n"
            "        os.kill(pid, signal.SIGKILL)\n        loot = pid\n    except OSError:\n        pass"
        ),
        earns={},
        levels=BOTH,
    ),
    A(
        "signals through other calls",
        "tgkill, rt_sigqueueinfo, pidfd and the group's calls",
        spy(
            "import signal\nlibc = ctypes.CDLL(None, use_errno=True)\nparent = os.getppid()\n"
            "found = [libc.syscall(n, parent, parent, 0) for n in (234, 129, 200)]\n"
            "loot = any(n == 0 for n in found)"
        ),
        earns={},
        levels=BOTH,
    ),
    A(
        "SIGALRM ignored",
        "the time limit's own signal is switched off",
        {
            "apply": "import signal, time\ndef apply(f, xs):\n    signal.setitimer(signal.ITIMER_REAL, 0)\n"
            "    signal.signal(signal.SIGALRM, signal.SIG_IGN)\n    time.sleep(100)\n"
        },
        earns={"apply": 0},
        waits=True,
        says="did not finish",
        levels=BOTH,
    ),
    A(
        "a fork that stays",
        "a process that outlives the submission",
        spy("pid = os.fork()\nif pid == 0:\n    time.sleep(30)\n    os._exit(0)\nloot = pid"),
        earns={},
        levels=BOTH,
        works_without_walls=True,
    ),
    A(
        "a fork by clone and vfork",
        "the system calls below fork",
        spy(
            "libc = ctypes.CDLL(None)\nSIGCHLD = 17\nfor call in ((56, SIGCHLD, 0, 0, 0, 0), (58,), (57,), (435, 0, 0)):\n"
            "    pid = libc.syscall(*call)\n    if pid == 0:\n        os._exit(0)\n    if pid > 0:\n        loot = pid"
        ),
        earns={},
        levels=BOTH,
    ),
    A(
        "programs",
        "a shell, a spawned program, an exec",
        spy("loot = subprocess.check_output(['/bin/sh', '-c', 'echo here'])"),
        earns={},
        levels=BOTH,
        works_without_walls=True,
    ),
    A(
        "os.system",
        "a shell without subprocess",
        spy("loot = os.system('true') == 0"),
        earns={},
        levels=BOTH,
        works_without_walls=True,
    ),
    A(
        "posix_spawn",
        "a program by another door",
        spy("pid = os.posix_spawn('/bin/true', ['true'], {})\nloot = os.waitpid(pid, 0)[1] == 0"),
        earns={},
        levels=BOTH,
        works_without_walls=True,
    ),
    A(
        "multiprocessing",
        "workers, which an honest student may try, too",
        spy(
            "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(2) as pool:\n"
            "    loot = pool.map(abs, [-1])"
        ),
        earns={},
        levels=BOTH,
    ),
    A(
        "ptrace",
        "becomes the debugger of its parent",
        spy("libc = ctypes.CDLL(None)\nloot = libc.ptrace(16, os.getppid(), 0, 0) == 0"),
        earns={},
        levels=BOTH,
    ),
    A(
        "the memory of its parent",
        "process_vm_readv and /proc/PID/mem",
        spy(
            "for path in (f'/proc/{os.getppid()}/mem', f'/proc/{os.getppid()}/maps', f'/proc/{os.getppid()}/environ'):\n"
            "    try:\n        loot = loot or open(path, 'rb').read(64)\n    except OSError:\n        pass"
        ),
        earns={},
        levels=BOTH,
        works_without_walls=True,
    ),
    A(
        "system calls of other architectures",
        "the x32 numbers of fork and execve",
        "import ctypes\nlibc = ctypes.CDLL(None)\ndef double(x):\n    pid = libc.syscall(0x40000000 + 57)\n"
        "    return x + x if pid > 0 else 0\n",
        levels=BOTH,
    ),
    A(
        "new privileges",
        "its own user namespace, in which it would be root",
        spy("libc = ctypes.CDLL(None)\nloot = libc.unshare(0x10000000) == 0"),
        earns={},
        levels=BOTH,
    ),
    A(
        "limits lifted",
        "rlimits and priority set back",
        spy(
            "import resource\nfor name in ('RLIMIT_AS', 'RLIMIT_FSIZE', 'RLIMIT_CPU', 'RLIMIT_NOFILE'):\n    try:\n"
            "        resource.setrlimit(getattr(resource, name), (-1, -1))\n        loot = name\n"
            "    except (OSError, ValueError):\n        pass"
        ),
        earns={},
        levels=BOTH,
    ),
    A(
        "work at exit",
        "atexit, a thread that is not a daemon, a finalizer",
        "import atexit, threading, time\natexit.register(time.sleep, 60)\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n" + RETURN,
        earns={},
        levels=BOTH,
    ),
]
