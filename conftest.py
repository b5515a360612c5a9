"""For every collection: what cannot be imported where triton is missing (it is for Linux only)."""

from importlib.util import find_spec

KERNELS = ["course_lib/attention/flash_configs.py", "course_lib/attention/flash_kernels.py"]
collect_ignore = [] if find_spec("triton") else KERNELS
