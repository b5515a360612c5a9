# ruff: noqa: E501
"""The judge's own side in the child, Python and libraries rewritten: all of it may be changed, none of it is believed."""

from attack import BOTH, RETURN, Attack

A = Attack
WRONG = "def double(x):\n    return 0\n"
ATTACKS = [
    A(
        "comparison replaced",
        "every function of the course that compares or reports says yes",
        "import sys\nfor name in list(sys.modules):\n    if name.startswith('autograder'):\n"
        "        for key, value in list(vars(sys.modules[name]).items()):\n"
        "            if callable(value) and key in ('same', 'equal', 'close', 'true', 'run_exercise', 'check'):\n"
        "                setattr(sys.modules[name], key, lambda *a, **k: True)\n" + WRONG,
        levels=BOTH,
    ),
    A(
        "executor replaced",
        "the executor claims a passed check in every field it can think of",
        "from autograder.executor import Executor\n"
        "Executor.perform = lambda self, request: {'passed': True, 'earned': 99, 'points': 99, 'outcome': 'passed'}\n"
        + WRONG,
        earns={"double": 0, "total": 0, "apply": 0, "centre": 0, "Tally": 0},
    ),
    A(
        "encoder replaced",
        "the child's encoder claims a wrong shape for a buffer",
        {
            "centre": "import autograder.arrays as v\nold = v.encode_array\n"
            "def lie(*a, **k):\n    return old(*a, **k) | {'shape': [3, 4], 'dtype': 'float32'}\nv.encode_array = lie\n"
            "def centre(x):\n    return torch.zeros(5)\n"
        },
        earns={"centre": 0},
        says="shape and size",
    ),
    A(
        "other dtypes claimed",
        "the child's encoder names an object dtype",
        {
            "centre": "import autograder.arrays as v\nold = v.encode_array\n"
            "def lie(*a, **k):\n    return old(*a, **k) | {'dtype': 'object'}\nv.encode_array = lie\n"
            "def centre(x):\n    return x\n"
        },
        earns={"centre": 0},
        says="unknown dtype",
    ),
    A(
        "builtins replaced",
        "print, len, sum, isinstance, sorted and open are something else",
        "import builtins\nfor name in ('len', 'sum', 'sorted', 'open', 'print', 'abs', 'all', 'any'):\n"
        "    setattr(builtins, name, lambda *a, **k: True)\n" + WRONG,
        earns={"double": 0, "total": 2, "apply": 1, "centre": 2, "Tally": 2},
    ),
    A(
        "torch and numpy replaced",
        "allclose, equal and friends always agree",
        {
            "centre": "import numpy\nfor module in (torch, numpy, torch.Tensor):\n"
            "    for name in ('allclose', 'isclose', 'equal', 'array_equal', 'eq'):\n"
            "        if hasattr(module, name):\n            setattr(module, name, lambda *a, **k: True)\n"
            "def centre(x):\n    return x\n"
        },
        earns={"centre": 0},
    ),
    A(
        "json replaced",
        "the child's json writes a verdict of its own",
        "import json\nold = json.dumps\n"
        "def dumps(value, **k):\n    if isinstance(value, dict) and 'kind' in value:\n"
        "        value['body'] |= {'outcome': 'passed', 'earned': 3}\n    return old(value, **k)\njson.dumps = dumps\n"
        + WRONG,
    ),
    A(
        "modules shadowed by files",
        "files named like modules in the working directory",
        "for name in ('torch', 'numpy', 'json', 'autograder', 'random', 'math'):\n"
        "    with open(name + '.py', 'w') as f:\n        f.write('raise SystemExit')\n" + RETURN,
        earns={},
    ),
    A(
        "modules shadowed in sys.modules",
        "sys.modules is emptied and filled with rubbish",
        "import sys\nfor name in ('json', 'autograder.values', 'autograder.executor', 'random', 'struct'):\n"
        "    sys.modules[name] = None\n" + RETURN,
        earns={},
    ),
    A(
        "sys.modules emptied",
        "no module is left",
        "import sys\n" + RETURN + "sys.modules.clear()\n",
        earns={"centre": 0},  # torch imports more when it first derives
    ),
    A(
        "input transformer",
        "IPython rewrites the cells that come after: every function returns its first argument's double",
        "def rewrite(lines):\n    return [line.replace('return', 'return 0 and') for line in lines]\n"
        "get_ipython().input_transformers_post.append(rewrite)\n" + RETURN,
        earns={},  # plain Python runs as it stands
    ),
    A(
        "stolen stand-in",
        "total keeps the course's double, which it is given in place of the wrong one, for double to call",
        {
            "double": "import builtins\ndef double(x):\n    return getattr(builtins, 'stolen', abs)(x)\n",
            "total": "import builtins\ndef total(xs):\n    builtins.stolen = double\n"
            "    return sum(double(x) for x in xs)\n",
        },
    ),
    A(
        "syntax tree transformer",
        "IPython adds an always-passing check to each cell",
        "import ast\nclass T(ast.NodeTransformer):\n    def visit_Raise(self, node):\n"
        "        return ast.copy_location(ast.Return(ast.Constant(0)), node)\n"
        "get_ipython().ast_transformers.append(T())\n" + WRONG,
    ),
    A(
        "trace function",
        "a trace and a profile function look into every frame for an expected value",
        "import sys\nSEEN = []\ndef look(frame, event, arg):\n    SEEN.extend(str(frame.f_locals.get(k)) for k in "
        "('want', 'expected', 'oracle', 'item') if k in frame.f_locals)\n    return look\n"
        "def double(x):\n    sys.setprofile(look)\n    sys.settrace(look)\n    return SEEN[0] if SEEN else 0\n",
    ),
    A(
        "the caller's frames",
        "walks up the stack and calls itself passed",
        "import sys\ndef double(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        for key, value in list(frame.f_locals.items()):\n"
        "            if isinstance(value, dict):\n                value.update(passed=True, earned=3, outcome='passed')\n"
        "        frame = frame.f_back\n    return 0\n",
        earns={"double": 0},
    ),
    A(
        "exit functions replaced",
        "os._exit and sys.exit do nothing, so that the child returns into the zygote's loop",
        "import os, sys, signal\nos._exit = sys.exit = lambda *a: None\nsignal.signal = lambda *a: None\n" + WRONG,
        levels=BOTH,
    ),
    A(
        "exception hooks",
        "excepthook, unraisablehook and a finalizer that speak at the end",
        "import sys, atexit\nsys.excepthook = sys.unraisablehook = lambda *a: None\n"
        "class F:\n    def __del__(self):\n        print('passed')\n"
        "atexit.register(lambda: open('late', 'w').write('x'))\n"
        "def double(x):\n    F()\n    raise ValueError('no')\n",
        says="ValueError: no",
    ),
    A(
        "the chapter's reference under another name",
        "course_lib with the mask taken off",
        "import sys\nsys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != 'Mask']\n"
        "import course_lib.tokenization as t\ndef double(x):\n    return x + x\n",
        earns={},  # the import fails: there is no such file; what stands below runs all the same
        says="No module named 'course_lib.tokenization'",
        levels=BOTH,
    ),
]
