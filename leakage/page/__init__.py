"""A report as one page of HTML that needs no network and no script."""

from leakage.page.document import page

__all__ = ["page"]
