"""The benchmark's figures as tables, with what one has to know to read them."""

from __future__ import annotations

import os
import platform
import statistics
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from grading_parts.meter import NOT_OURS, OURS

AIM_OVERHEAD, AIM_FULL, AIM_CELLS = 0.15, 30, 5
# What keeps the share from being smaller; said with every table, because a reader will ask.
WHY = """
What our share consists of: a right submission answers about 280 requests, first those of the public checks and then
those of the hidden ones; where one fails, a second process answers hidden checks. Each request crosses to a process
behind walls and back, which costs some tenths of a millisecond on both sides together. Notebook, gradebook and
feedback page are made by nbgrader's own steps. The ratio for graded cells is limited by the student's code and the
checks, which both have to run: ours ask for more inputs than the asserts do.
""".strip("\n").splitlines()


def about_machine() -> dict[str, str]:
    """The machine, the day and the versions."""
    cpu, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    libraries = {name: version(name) for name in ("nbgrader", "nbclient", "ipykernel", "torch")}
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    today = date.today().isoformat()
    return {"cpu": cpu, "cores": str(os.cpu_count()), "load": load, "date": today} | {
        "python": platform.python_version(),
        **libraries,
    }


def ratios(measured: dict[str, Any]) -> dict[str, dict[str, float]]:
    """nbgrader's seconds over ours, summed over the submissions that both had, by clock and by processor time."""
    ours = {item["student"]: item for item in measured["course"]["graded"]}
    found = {}
    for name, theirs in measured["nbgrader"].items():
        if theirs:
            mine = [ours[student] for student in theirs]
            found[name] = {
                "submissions": len(theirs),
                "wall": statistics.fmean(item["wall"] for item in theirs.values()),
                "cpu": statistics.fmean(item["cpu"] for item in theirs.values()),
                "our_wall": statistics.fmean(item["wall"] for item in mine),
                "our_cpu": statistics.fmean(sum(item["cpu"].values()) for item in mine),
            }
            for clock in ("wall", "cpu"):
                found[name][f"{clock}_ratio"] = found[name][clock] / found[name][f"our_{clock}"]
    return found


def markdown(measured: dict[str, Any]) -> str:
    """All tables under a description."""
    course, about = measured["course"], measured["machine"]
    described = ", ".join(f"{key} {value}" for key, value in about.items())
    size = len(course["graded"])
    kinds = [item["kind"] for item in course["graded"]]
    mixture = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    lines = [
        "# Grading: `course grade` beside plain nbgrader",
        "",
        "Made by `python benchmarks/grading.py --table benchmarks/grading.md`.",
        "",
        f"- Machine: {described}. Walls: {course['sandbox']}.",
        f"- Class: {size} different submissions of chapter 01_tokenization ({mixture}).",
        "- nbgrader takes its turns while `course grade` works through the class; it runs the same submissions, with",
        "  asserts in the place of the checks, small experiments (COURSE_SCALE=quick) and one kernel per notebook.",
        "  Files that are no notebook, endless loops and submissions that end their kernel are not in its samples: it",
        "  stops at them. The start of Python and nbgrader is not counted.",
        "- Processor time is user and system time of all processes together. On a busy machine (load is its load",
        "  average before the run) it is the fairer of the two, though busy neighbours raise it, too.",
        "- A ratio is nbgrader's time over ours for the same submissions, in the same run.",
        "",
        "## One submission",
        "",
        "| what | submissions | seconds | CPU seconds | ours, seconds | ours, CPU | ratio, clock | ratio, CPU |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        f"| `course grade`, warm, the class | {size} | {course['wall']:.2f} | {course['cpu']:.3f} | | | | |",
    ]
    names = {"full": "nbgrader, whole notebooks", "cells": "nbgrader, graded cells only"}
    aims = []
    for name, row in ratios(measured).items():
        numbers = f"{row['wall']:.1f} | {row['cpu']:.2f} | {row['our_wall']:.2f} | {row['our_cpu']:.3f}"
        both = f"{row['wall_ratio']:.1f} | {row['cpu_ratio']:.1f}"
        lines.append(f"| {names[name]} | {row['submissions']} | {numbers} | {both} |")
        aim = AIM_FULL if name == "full" else AIM_CELLS
        aims.append(_aim(f"{names[name]}: {aim} times", row["cpu_ratio"] >= aim, f"{row['cpu_ratio']:.1f} times"))
    if "two_workers" in measured:
        two = measured["two_workers"]
        lines.append(f"| `course grade --workers 2` | {two['students']} | {two['wall']:.2f} | | | | | |")
    cold = course["cold"]
    lines += [
        "",
        f"Before the first submission: {cold['zygote_wall']:.1f} s ({cold['zygote_cpu']:.1f} s of processor time) to "
        f"start the zygote; {cold['all_wall']:.1f} s ({cold['all_cpu']:.1f} s) until the gradebook was set up and a "
        f"first submission graded. After the last: {course['end']['cpu']:.2f} s for tables and report.",
        "",
        "## Where the processor time goes",
        "",
        "Means over the class. The student's code and the checks would be there with any grader; the rest is ours.",
        "",
        "| part | CPU seconds |",
        "| --- | ---: |",
    ]
    for name in NOT_OURS:
        lines.append(f"| {name} | {course['categories'][name]:.3f} |")
    for name in OURS:
        lines.append(f"| ours: {name} | {course['categories'][name]:.3f} |")
    lines.append(f"| **ours together** (median {course['ours_median']:.3f}) | **{course['ours']:.3f}** |")
    said = f"{course['ours']:.2f} s of processor time (median {course['ours_median']:.2f} s), the measuring included"
    aims.insert(0, _aim(f"our own share: {AIM_OVERHEAD} s", course["ours"] <= AIM_OVERHEAD, said))
    lines += ["", "## Aims", "", *aims, "", *WHY, *_growth(measured.get("growth"))]
    return "\n".join(lines) + "\n"


def _aim(what: str, reached: bool, found: str) -> str:
    return f"- {what}: {'reached' if reached else '**missed**'}, {found}."


def _growth(growth: dict[str, Any] | None) -> list[str]:
    if not growth:
        return []
    lines = [
        "",
        "## Growth with the class",
        "",
        "One run over a large class: means from the first submission on, and MiB at that point (PSS: what is shared "
        "with other processes counts in part).",
        "",
        "| submissions | seconds each | CPU each | ours, CPU | coordinator RSS | zygote RSS | zygote PSS |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for memory in growth["memory"]:
        count = int(memory["submissions"])
        first = growth["graded"][:count]
        wall, cpu = (
            statistics.fmean(values) for values in ([i["wall"] for i in first], [sum(i["cpu"].values()) for i in first])
        )
        ours = statistics.fmean(sum(i["cpu"].get(name, 0.0) for name in OURS) for i in first)
        sizes = " | ".join(f"{memory.get(k, 0):.0f}" for k in ("coordinator_rss", "zygote_rss", "zygote_pss"))
        lines.append(f"| {count} | {wall:.2f} | {cpu:.3f} | {ours:.3f} | {sizes} |")
    return lines
