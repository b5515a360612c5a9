"""Answers that pretend to be right: objects that agree with everything, and data of the wrong kind."""

from attack import Attack

A = Attack
ATTACKS = [
    A(
        "always equal integer",
        "an int whose comparison always says yes",
        "class Yes(int):\n    def __eq__(self, other):\n        return True\n    __ne__ = __lt__ = __gt__ = __eq__\n"
        "    __hash__ = int.__hash__\ndef double(x):\n    return Yes(0)\n",
        says="returned 0",
    ),
    A(
        "always equal object",
        "an object that is equal to anything and survives any operation",
        "class Yes:\n    def __getattr__(self, name):\n        return lambda *a, **k: self\n"
        "    def __eq__(self, other):\n        return True\n    def __call__(self, *a, **k):\n        return self\n"
        "def double(x):\n    return Yes()\n",
        says="returned a Yes",
    ),
    A("mock", "a MagicMock", "from unittest.mock import MagicMock\ndef double(x):\n    return MagicMock()\n"),
    A(
        "integer that changes its mind",
        "an int subclass that turns into something else whenever it is converted",
        "class Liar(int):\n    n = 0\n    def __int__(self):\n        Liar.n += 1\n        return Liar.n\n"
        "    __index__ = __trunc__ = __int__\ndef double(x):\n    return Liar(7)\n",
    ),
    A(
        "float that lies",
        "a float subclass with a comparison, a repr and a conversion of its own",
        "class Liar(float):\n    def __float__(self):\n        return float('nan')\n    def __repr__(self):\n"
        "        return 'right'\n    __str__ = __format__ = lambda self, *a: 'right'\n"
        "    __eq__ = lambda self, o: True\n    __hash__ = float.__hash__\ndef double(x):\n    return Liar(7)\n",
    ),
    A(
        "nan",
        "not a number: not equal to itself, so perhaps never unequal",
        "def double(x):\n    return float('nan')\n",
    ),
    A("infinity", "infinity, within any relative tolerance", "def double(x):\n    return float('inf')\n"),
    A("true", "True for every question", "def double(x):\n    return True\n"),
    A("right number as text", "'84' instead of 84", "def double(x):\n    return str(2 * x)\n", says="a str"),
    A(
        "all answers at once",
        "a list of every possible answer",
        "def double(x):\n    return list(range(-2000, 2001))\n",
    ),
    A("generator", "a generator instead of a value", "def double(x):\n    yield 2 * x\n"),
    A("itself", "the function returns itself", "def double(x):\n    return double\n"),
    A(
        "list that iterates for ever",
        "a list whose iteration never ends",
        {
            "apply": "class L(list):\n    def __iter__(self):\n        while True:\n            yield 1\n"
            "def apply(f, xs):\n    return L(xs)\n"
        },
        earns={"apply": 0},
        waits=True,
    ),
    A(
        "dictionary that lies about its items",
        "one mapping for the eyes of `items`, another for everybody else",
        {
            "Tally": "class D(dict):\n    def items(self):\n        return [('a', 1), ('b', 2), ('b', 3)]\n"
            "    def __eq__(self, other):\n        return True\n    __hash__ = None\nclass Tally:\n"
            "    counts = D(a=1, b=2)\n    def add(self, key):\n        return self\n"
            "    def most(self):\n        return 'b'\n"
        },
        earns={"Tally": 0},
        says="wrong counts",
    ),
    A(
        "namespace that agrees",
        "a SimpleNamespace that is equal to everything and has any attribute",
        "from types import SimpleNamespace\nclass Yes(SimpleNamespace):\n    __eq__ = lambda self, other: True\n"
        "    __getattr__ = lambda self, name: self\ndef double(x):\n    return Yes(value=2 * x)\n",
        says="returned a ",
    ),
    A(
        "keys that are no keys",
        "a mapping with unhashable and colliding keys",
        {
            "Tally": "from collections.abc import Mapping\nclass M(Mapping):\n    def __getitem__(self, key):\n"
            "        return 1\n    def __len__(self):\n        return 2\n    def __iter__(self):\n"
            "        return iter([])\n    def items(self):\n        return [([1], 1), ({}, 2), (1, 1), (True, 2)]\n"
            "class Tally:\n    counts = M()\n    def add(self, key):\n        return self\n"
            "    def most(self):\n        return 'b'\n"
        },
        earns={"Tally": 0},
        says="malformed dict",
    ),
    A(
        "tensor subclass",
        "a tensor that answers every torch function with True",
        {
            "centre": "class Same(torch.Tensor):\n    @classmethod\n"
            "    def __torch_function__(cls, func, types, args=(), kwargs=None):\n        return True\n"
            "def centre(x):\n    return torch.zeros(3, 4).as_subclass(Same)\n"
        },
        earns={"centre": 0},
        says="wrong in",
    ),
    A(
        "tensor full of nan",
        "nan wherever a tolerance could be asked",
        {"centre": "def centre(x):\n    return x * float('nan')\n"},
        earns={"centre": 0},
        says="nan",
    ),
    A(
        "empty tensor",
        "no element, so none that is wrong",
        {"centre": "def centre(x):\n    return x[:0]\n"},
        earns={"centre": 0},
        says="shape",
    ),
    A(
        "tensor that broadcasts",
        "one number that agrees with any shape",
        {"centre": "def centre(x):\n    return (x - x.sum() / x.numel())[:1, :1] if x.dim() == 2 else x[:1]\n"},
        earns={"centre": 0},
        says="shape",
    ),
    A(
        "tensor without values",
        "a tensor on the meta device, then one of a trillion elements that takes no memory",
        {
            "centre": "def centre(x):\n    if x.dim() == 1:\n        return torch.zeros(1).expand(10**12)\n"
            "    return torch.empty(3, 4, device='meta')\n"
        },
        earns={"centre": 0},
        says="no plain values",
    ),
    A(
        "array of objects",
        "a NumPy array whose elements are always equal",
        "import numpy as np\nclass Yes:\n    __eq__ = lambda self, other: True\n"
        "def double(x):\n    return np.array([Yes()], dtype=object)\n",
        says="dtype object",
    ),
    A(
        "array of records",
        "a structured NumPy array",
        "import numpy as np\ndef double(x):\n    return np.zeros(2, dtype=[('a', 'i4'), ('b', 'O')])\n",
        says="cannot be compared",
    ),
    A(
        "gradient of somebody else",
        "right values with a gradient function of its own",
        {
            "centre": "class F(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n"
            "        return x - x.sum() / x.numel()\n    @staticmethod\n    def backward(ctx, g):\n"
            "        return g * float('nan')\ndef centre(x):\n    return F.apply(x)\n"
        },
        earns={"centre": 1},
    ),
    A(
        "pickle that runs code",
        "an object that would start a program wherever it is unpickled",
        "import os\nclass P:\n    def __reduce__(self):\n        return os.system, ('touch /tmp/course-attack',)\n"
        "def double(x):\n    return P()\n",
        says="returned a P",
    ),
    A("a number of 10,000 digits", "slow comparison, slow printing", "def double(x):\n    return 10 ** 10_000\n"),
    A(
        "an integer too large for a float",
        "an overflow in the comparison, so that the check itself seems broken and its points are given",
        "def double(x):\n    return 10 ** 400\n",
        says="returned a? ?(int|1000)|cannot be used",
    ),
    A(
        "deep nesting",
        "100,000 lists in each other",
        "def double(x):\n    y = []\n    for _ in range(100_000):\n        y = [y]\n    return y\n",
        says="nested more than",
    ),
    A(
        "a list that contains itself",
        "data without end",
        "def double(x):\n    y = []\n    y.append(y)\n    return y\n",
        says="nested more than",
    ),
    A(
        "half a surrogate pair",
        "text that is no text and cannot be written to a file: everything that is written about it would fail",
        "def double(x):\n    print('\\ud800')\n    raise ValueError('\\ud83d \\x1b]0;owned\\x07 \\x00')\n",
        says="ValueError",
        hides="[\ud800-\udfff\x00\x07\x1b]",
    ),
]
