"""The channel to the judge: bytes and messages that no honest process would write."""

from attack import BOTH, FRAMES, RETURN, Attack

A = Attack


def during_call(name: str, tries: str, code: str, says: str = "", **more: object) -> Attack:
    """A wrong `apply`, which nothing else uses, that first runs ``code``."""
    body = "".join(f"    {line}\n" for line in code.strip().splitlines())
    submission = {"apply": f"{FRAMES}def apply(f, xs):\n{body}    return 0\n"}
    return Attack(name, tries, submission, says=says, **{"earns": {"apply": 0}} | more)  # type: ignore[arg-type]


ATTACKS = [
    A(
        "rubbish on every descriptor",
        "bytes written to whatever is open",
        "import os\ndef double(x):\n    for n in range(3, 256):\n        try:\n            os.write(n, b'A' * 1000)\n"
        "        except OSError:\n            pass\n    return 2 * x\n",
        says="something that is not a message",
        levels=BOTH,
    ),
    during_call(
        "answers written in advance",
        "twenty replies with a value and a verdict before the question",
        "for n in range(20):\n    frame(body={'passed': True, 'earned': 99}, values={'ok': [xs, 0]})",
        says="something that is not a message",
    ),
    during_call(
        "the right number with a wrong verdict",
        "a reply to exactly this question that says it was passed, then the true one",
        "answer({'outcome': 'passed', 'earned': 3, 'points': 0}, values={'ok': [0, 0]})",
    ),
    during_call(
        "two answers to one question",
        "the second one would be taken for the answer to the next: it ends the process, and what comes next pays",
        "frame(body={'id': request_id()}, values={'ok': [0, 0]})",
        earns={"apply": 0, "centre": 0},
        says="something that is not a message",
    ),
    during_call(
        "a reply that claims to be graded",
        "kinds of message that the judge does not know",
        "frame('result', {'id': request_id(), 'earned': 3})",
        says="something that is not a message",
    ),
    during_call(
        "a length without end",
        "a header of 16 exabytes",
        "raw(b'\\xff' * 8)",
        says="something that is not a message",
    ),
    during_call(
        "a header that is never finished",
        "a megabyte is announced and one byte comes",
        "import time\nraw(struct.pack('>Q', 2**20) + b'{')\ntime.sleep(60)",
        waits=True,
    ),
    during_call(
        "one byte at a time",
        "a header that trickles, so that something always arrives",
        "import time\nraw(struct.pack('>Q', 2**20) + b'{')\nwhile True:\n    raw(b' ')\n    time.sleep(0.05)",
        waits=True,
    ),
    during_call(
        "60 MB of brackets",
        "a header that would become gigabytes of objects",
        "raw(struct.pack('>Q', 60 * 2**20))\nfor _ in range(60):\n    raw(b'[],' * (2**20 // 3 + 1))",
        says="too many items",
    ),
    during_call(
        "deep JSON",
        "brackets nested 100,000 deep",
        "text = b'[' * 100_000\nraw(struct.pack('>Q', len(text)) + text)",
        says="something that is not a message",
    ),
    during_call(
        "a value nested to the limit",
        "JSON just shallow enough to be read",
        "y = 1\nfor _ in range(700):\n    y = [y]\nanswer(values={'ok': [y, 0]})",
        says="nested|not a message",
    ),
    during_call(
        "error details of every wrong type",
        "an error whose type, message, line and source are nested lists",
        "y = 1\nfor _ in range(700):\n    y = [y]\n"
        "answer({'error': {'type': y, 'message': y, 'line': y, 'source': y, 'bases': y}})",
    ),
    A(
        "a cell's error of every wrong type",
        "the same while a cell runs, where no check is there to take the blame",
        FRAMES + "y = 1\nfor _ in range(850):\n    y = [y]\n"
        "answer({'error': {'type': y, 'message': y, 'line': 10**100, 'source': y}})\n" + RETURN,
        earns={},
        says="cell 2",
    ),
    during_call(
        "a line number of 4,000 digits",
        "numbers that would spoil the page",
        "answer({'error': {'type': 'E', 'message': 'm', 'line': 10**4000}})",
        hides="0{400}",
    ),
    during_call(
        "an error message of 50 MB",
        "text that would fill the gradebook",
        "answer({'error': {'type': 'E', 'message': 'm' * 50_000_000}})",
        hides="m{5000}",
    ),
    during_call(
        "missing, and right",
        "a reply that says 'missing' and carries a value: neither failed nor wrong",
        "answer({'missing': 'x' * 10**6}, values={'ok': [0, 0]})",
    ),
    during_call(
        "timed out, and right",
        "a reply that says 'timeout' with a value that is no number",
        "answer({'timeout': [float('nan')]}, values={'ok': [0, 0]})",
    ),
    during_call(
        "buffers of negative size",
        "sizes that no buffer has",
        "answer(values={'ok': [1, 1]}, sizes=[-5])",
        says="something that is not a message",
    ),
    during_call(
        "more buffers than announced",
        "values and buffers that do not add up",
        "answer(values={'ok': [1, 7]}, sizes=[1], buffers=[b'x'])",
        says="something that is not a message",
    ),
    during_call(
        "ten gigabytes announced",
        "a message larger than the judge's memory",
        "answer(values={'ok': [1, 1]}, sizes=[10 * 2**30])",
        says="too large",
    ),
    during_call(
        "a set of colliding numbers",
        "200,000 multiples of 2**61 - 1 hash alike: one step in C that no time limit could interrupt",
        "keys = [n * (2**61 - 1) for n in range(200_000)]\nanswer(values={'ok': [{'t': 'set', 'v': keys}, 0]})",
        says="hash alike",
    ),
    during_call(
        "a dictionary of colliding tuples",
        "small numbers do, too: -1 and -2 have the same hash, and so have all tuples of them",
        "from itertools import product\n"
        "keys = [{'t': 'tuple', 'v': list(signs)} for signs in product((-1, -2), repeat=16)]\n"
        "answer(values={'ok': [{'t': 'dict', 'k': keys, 'v': [0] * len(keys)}, 0]})",
        says="hash alike",
    ),
    during_call(
        "a dictionary of colliding tuples in one piece",
        "the same keys in the short form in which lists of tuples travel",
        "from itertools import chain, product\n"
        "flat = [*chain.from_iterable(product((-1, -2), repeat=16))]\n"
        "keys = {'t': 'tuples', 'n': 16, 'v': flat}\n"
        "answer(values={'ok': [{'t': 'dict', 'k': keys, 'v': [0] * 2**16}, 0]})",
        says="hash alike",
    ),
    during_call(
        "tuples of a length that fits no machine",
        "no items, cut into tuples of a million millions",
        "answer(values={'ok': [{'t': 'tuples', 'n': 10**12, 'v': []}, 0]})",
        says="cannot be used here",
    ),
    during_call(
        "an array with the shape of a planet",
        "shapes that overflow",
        "tree = {'t': 'array', 'dtype': 'int8', 'shape': [0, 2**62, 2**62], 'v': 0}\n"
        "answer(values={'ok': [tree, 1]}, sizes=[0])",
    ),
    during_call(
        "kinds of value that do not exist",
        "trees that no encoder makes",
        "tree = {'t': 'device', 'v': 'nowhere:99'}\nanswer(values={'ok': [tree, 0]})",
    ),
    A(
        "handles of objects that do not exist",
        "an object with a number of its own choice, and functions of the check's side",
        {
            "Tally": FRAMES + "class Tally:\n    counts = {'a': 1, 'b': 2}\n    def __new__(cls):\n"
            "        answer(values={'ok': [{'t': 'object', 'v': 10**9, 'of': 'Tally'}, 0]})\n"
            "        return object.__new__(cls)\n    def add(self, key):\n        return self\n"
            "    def most(self):\n        return 'b'\n"
        },
        earns={"Tally": 0},
    ),
    during_call(
        "callbacks by invented numbers",
        "calls to functions that nobody handed over, stand-ins among them",
        "for n in (7, -1, 10**6, 10**30, True, 1.5, 'f', None):\n"
        "    args = {'t': 'tuple', 'v': [[5], {'t': 'dict', 'k': [], 'v': []}]}\n"
        "    frame('callback', {'number': n}, {'args': [args, 0]})\n"
        "    answer = server.channel.receive()\n"
        "    if 'ok' in answer.values:\n"
        "        return answer.values['ok'].tree",
        says="returned an int: 0",
    ),
    A(
        "callbacks without end",
        "the check's function is called for ever",
        {"apply": "def apply(f, xs):\n    while True:\n        f(1)\n"},
        earns={"apply": 0},
        says="called back more than",
        limits={"callbacks": 300},
    ),
    A(
        "callbacks while a cell runs",
        "asks for answers before there is a question",
        FRAMES + "frame('callback', {'number': 0}, {'args': [[], 0]})\nANSWER = server.channel.receive()\n"
        "def double(x):\n    return ANSWER.values.get('ok', 0)\n",
    ),
    A(
        "objects given to the check's function",
        "an object of its own goes to the other side and back",
        {"apply": "def apply(f, xs):\n    return f(apply)\n"},
        earns={"apply": 0},
        says="expected plain data",
    ),
    A(
        "the channel closed",
        "nobody there to answer",
        "import os\ndef double(x):\n    for n in range(3, 256):\n        try:\n            os.close(n)\n"
        "        except OSError:\n            pass\n    return 2 * x\n",
        says="ended the process",
    ),
    A(
        "open files sent along",
        "descriptors sent over the channel, a thousand at a time",
        FRAMES
        + "import socket, array\ndef double(x):\n    fds = [os.open('/dev/null', os.O_RDONLY) for _ in range(100)]\n"
        "    try:\n        server.channel.socket.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, "
        "array.array('i', fds))])\n    except OSError:\n        pass\n    return 0\n",
    ),
    A(
        "giant answers besides the right one",
        "fills the judge's memory with values that nobody asked for",
        {
            "total": FRAMES + "def total(xs):\n"
            "    answer(values={'ok': [0, 0], 'args_after': [{'t': 'array', 'dtype': 'int8', "
            "'shape': [50 * 2**20], 'v': 0}, 1]}, sizes=[50 * 2**20], buffers=[bytes(50 * 2**20)])\n    return 0\n"
        },
        earns={"total": 0},
    ),
]
