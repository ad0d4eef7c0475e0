"""Summaries as text and HTML."""
from __future__ import annotations
from typing import Any
def one_line(fit: Any) -> str:
    return f"<{fit.formula}>"
class Summary:
    def __init__(self, fit: Any) -> None:
        self.fit = fit
    def _repr_html_(self) -> str:
        return ""
