"""Everything that has to be tried has been tried: what is named here is an attack, or a test, that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from attacks import ALL, KINDS

TESTS = Path(__file__).parent.parent
# By what is tried: names of attacks by kind, and tests as FILE::FUNCTION below tests/.
TRIED = {
    "always-equal objects": {"answers": ["always equal integer", "always equal object", "mock", "array of objects"]},
    "tensor subclasses": {"answers": ["tensor subclass", "tensor without values", "gradient of somebody else"]},
    "lying repr, float and iter": {
        "answers": ["float that lies", "integer that changes its mind", "list that iterates for ever"]
    },
    "transformers": {"patches": ["input transformer", "syntax tree transformer"]},
    "patches": {
        "patches": [
            "builtins replaced", "torch and numpy replaced", "json replaced", "executor replaced",
            "comparison replaced", "encoder replaced", "trace function", "the caller's frames",
        ]
    },
    "shadowed modules": {
        "patches": ["modules shadowed by files", "modules shadowed in sys.modules", "sys.modules emptied"]
    },
    "reading": {
        "reading": [
            "a gradebook", "the feedback of others", "the solutions", "the hidden checks", "the reference",
            "where the others are", "files of the submission before", "/proc/self/root", "other processes",
            "the environment", "all of its memory", "objects of the zygote", "expected values in a message",
        ]
    },
    "writing": {
        "writing": ["a gradebook", "a file outside, changed", "the feedback of others", "the course itself"]
    },
    "forged messages": {
        "protocol": [
            "answers written in advance", "the right number with a wrong verdict", "two answers to one question",
            "a reply that claims to be graded", "callbacks by invented numbers",
        ]
    },
    "inherited descriptors": {
        "protocol": ["rubbish on every descriptor", "the channel closed", "open files sent along"]
    },
    "ends": {
        "processes": [
            "os._exit", "os._exit in a cell", "kills itself", "stops itself", "segfault", "abort",
            "endless recursion", "recursion without a limit", "error at import", "exit in a cell",
        ]
    },
    "time": {
        "exhaustion": [
            "endless loop", "endless loop in C", "endless loop in a cell", "loop that swallows interrupts", "sleep",
            "threads that work on", "all its time",
        ],
        "processes": ["SIGALRM ignored", "KeyboardInterrupt"],
    },
    "bombs": {
        "exhaustion": [
            "memory bomb", "memory in small pieces", "memory without an address", "fork bomb", "thread bomb",
            "descriptor bomb", "one large file", "many large files", "files without a name", "a million empty files",
        ]
    },
    "large and strange data": {
        "exhaustion": ["60 MB on one line", "a million lines", "a giant answer", "slow to read"],
        "protocol": [
            "deep JSON", "60 MB of brackets", "a value nested to the limit", "an array with the shape of a planet",
            "a set of colliding numbers", "a dictionary of colliding tuples",
        ],
        "answers": ["nan", "infinity", "tensor full of nan", "array of objects", "pickle that runs code"],
        "patches": ["encoder replaced", "other dtypes claimed"],
        "tests": ["judge/test_bounds.py::test_an_answer_that_makes_the_check_ask_for_all_memory_costs_its_author"],
    },
    "things that stay": {
        "processes": ["a fork that stays", "work at exit"],
        "writing": ["a file left for the next", "shared memory and queues", "a tree that cannot be removed"],
        "tests": [
            "judge/test_zygote.py::test_nothing_survives_its_submission",
            "judge/test_hostile.py::test_no_process_is_left_behind",
            "security/test_attacks.py::test_the_next_submission_finds_the_world_as_it_was",
        ],
    },
    "network": {
        "reading": [
            "TCP on the loopback device", "TCP to the outside", "UDP", "listening", "a unix socket",
            "an abstract socket", "IPv6, netlink and raw sockets",
        ]
    },
    "paths": {
        "reading": ["path traversal", "a symbolic link to a file outside", "a hard link to a file outside"],
        "writing": ["names that are hard to remove", "devices, pipes and links"],
        "notebooks": ["grade ids that climb", "a zip archive"],
        "tests": [
            "security/test_handed_in.py::test_a_hostile_folder_disturbs_neither_the_others_nor_anything_outside",
            "judge/test_intake.py::test_submissions_of_every_common_shape_are_taken_in",
        ],
    },
    "files that are no notebooks": {
        "notebooks": [
            "empty file", "cut off", "a script", "gzip", "70 MB of output", "the format of 2013",
            "a format from the future", "brackets 500,000 deep",
        ]
    },
    "deformed notebooks": {
        "notebooks": [
            "every cell twice", "cells deleted", "renamed", "cells retyped", "split", "merged", "reordered",
            "points edited", "flags edited", "another kernel", "metadata lost", "grade ids of others",
        ]
    },
    "knowing the answers": {
        "state": [
            "answers by heart", "right for the public check only", "right while it is watched",
            "right the first time", "the answer before", "hidden inputs carried into public messages",
        ],
        "tests": ["security/test_handed_in.py::test_constant_answers_earn_next_to_nothing_in_real_chapters"],
    },
    "forbidden functions": {
        "forbidden": ["getattr", "importlib", "eval", "exec", "the course's own reference", "a name from characters"]
    },
    "pages and tables": {
        "tests": [
            "security/test_pages.py::test_nothing_runs_and_nothing_is_loaded",
            "security/test_pages.py::test_tables_hold_no_formula_and_names_no_path",
            "security/test_handed_in.py::test_a_formula_behind_a_separator_stays_text",
        ]
    },
    "forged timestamps": {
        "tests": ["security/test_handed_in.py::test_a_hostile_folder_disturbs_neither_the_others_nor_anything_outside"]
    },
    "relaxations and GPUs": {
        "tests": [
            "security/test_relax.py::test_a_relaxed_submission_can_break_out_no_more_than_another",
            "security/test_gpu.py::test_a_gpu_that_is_there_is_out_of_reach",
        ]
    },
    "honest submissions": {
        "honest": [
            "noise on stderr", "prints", "progress bars", "plots", "magics and shell lines", "slow, within the limit",
            "much memory, within the limit", "extra cells", "files of its own", "a failing first try",
        ],
        "notebooks": ["another kernel", "metadata lost"],
    },
}  # fmt: skip


@pytest.mark.parametrize("item", TRIED)
def test_it_is_tried(item):
    for kind, names in TRIED[item].items():
        for name in names:
            if kind == "tests":
                file, _, function = name.partition("::")
                assert re.search(rf"^def {function}\(", (TESTS / file).read_text(), re.MULTILINE), name
            else:
                assert name in {attack.name for attack in KINDS[kind]}, f"{kind}: {name}"


def test_there_are_enough_and_each_is_described():
    assert len(ALL) >= 60
    for kind, attacks in KINDS.items():
        assert attacks, kind
        assert len({attack.name for attack in attacks}) == len(attacks), f"{kind}: a name twice"
        assert all(attack.tries for attack in attacks), kind
    assert {kind for kinds in TRIED.values() for kind in kinds} == {*KINDS, "tests"}
    assert {level for _, attack in ALL for level in attack.levels} == {"bubblewrap", "inner"}
