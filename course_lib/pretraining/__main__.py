"""``python -m course_lib.pretraining``: see `course_lib.pretraining.cli`."""

from course_lib.pretraining.cli import main

if __name__ == "__main__":
    main()
