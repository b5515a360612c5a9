"""Reference implementations, one package per chapter; `corpus` and `display` serve every chapter."""

from course_lib.models import base_model

__all__ = ["base_model"]
