"""What the columns of x mean, so that a made-up record is one that there could be."""

from leakage.fields.base import Category, Field, Number, project, read, why_invalid, write
from leakage.fields.derived import fields_of

__all__ = [
    "Category",
    "Field",
    "Number",
    "fields_of",
    "project",
    "read",
    "why_invalid",
    "write",
]
