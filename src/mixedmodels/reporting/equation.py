"""A model as an equation in symbols and in numbers: HTML that breaks its lines by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mixedmodels.errors import clean
from mixedmodels.model.record import Fit
from mixedmodels.output.layout import number
from mixedmodels.reporting.html import name, paragraph, text

# terms that an equation shows
MOST_TERMS = 16


def equation(m: Fit) -> str:
    """The model in symbols, its distributions, and the fixed part with its estimates.

    Parameters
    ----------
    m : Fit

    Returns
    -------
    str
        HTML.
    """
    parts = [_box(_symbols(m), _spoken(m))]
    estimates = list(_estimates(m))
    if estimates:
        parts.append(paragraph("With the estimates of the fixed part:"))
        parts.append(_box(estimates))
    return "".join(parts)


def _box(terms: Sequence[str], spoken: str = "") -> str:
    body = " ".join(f'<span class="term">{term}</span>' for term in terms)
    role = f' role="math" aria-label="{text(spoken)}"' if spoken else ""
    return f'<div class="equation"{role}>{body}</div>'


def _sub(letter: str, index: str) -> str:
    return f"<i>{letter}</i><sub>{index}</sub>"


def _response(m: Fit) -> str:
    response = m.design.formula.response
    return response.text if response is not None else "response"


def _symbols(m: Fit) -> list[str]:
    terms = [f"{name(_response(m))}<sub><i>i</i></sub> ="]
    fixed = [_product(_sub("β", str(j)), t) for j, t in enumerate(m.term_names)]
    terms += _joined(_shortened(fixed))
    letters = "bcdfghuvw"
    laws = []
    for k, group in enumerate(m.design.groups):
        letter = letters[k] if k < len(letters) else "b"
        columns = [column for term in group.terms for column in term.names]
        level = f"{name(group.name)}[<i>i</i>]"
        random = [_product(_sub(letter, f"{j},{level}"), c) for j, c in enumerate(columns)]
        terms += [f"+ {term}" for term in _shortened(random)]
        laws.append(_law(letter, group.name, len(columns)))
    weight = "/<i>w</i><sub><i>i</i></sub>" if m.rows.weights is not None else ""
    offset = ["+ offset<sub><i>i</i></sub>"] if m.rows.offset is not None else []
    law = f"<i>ε</i><sub><i>i</i></sub> ~ N(0, <i>&sigma;</i>²{weight})"
    return [*terms, *offset, "+ <i>ε</i><sub><i>i</i></sub>", "<br>", *laws, law]


def _law(letter: str, group: str, n: int) -> str:
    label = name(group)
    if n == 1:
        return f"{_sub(letter, '0,' + label)} ~ N(0, {_sub('τ', label)}²),"
    vector = (
        f"({_sub(letter, '0')}, …, {_sub(letter, str(n - 1))})"
        if n > 2
        else (f"({_sub(letter, '0')}, {_sub(letter, '1')})")
    )
    return f"{vector}<sub>{label}</sub> ~ N(0, {_sub('Σ', label)}),"


def _product(coefficient: str, term: str) -> str:
    return coefficient if term == "Intercept" else f"{coefficient} · {name(term)}"


def _joined(terms: Sequence[str]) -> list[str]:
    return [term if j == 0 else f"+ {term}" for j, term in enumerate(terms)] or ["0"]


def _shortened(terms: Sequence[str]) -> list[str]:
    if len(terms) <= MOST_TERMS:
        return list(terms)
    return [*terms[: MOST_TERMS - 1], f"… ({len(terms) - MOST_TERMS + 1} more terms)"]


def _estimates(m: Fit) -> Iterator[str]:
    if not m.term_names:
        return
    yield f"E({name(_response(m))}) ="
    signed = []
    for j, (value, term) in enumerate(zip(m.beta.tolist(), m.term_names, strict=True)):
        size = number(abs(value))
        sign = "&minus;" if value < 0 else ("+" if j else "")
        signed.append(f"{sign} {_product(size, term)}".strip())
    yield from _shortened(signed)


def _spoken(m: Fit) -> str:
    """The equation for a reader of screens."""
    groups = "; ".join(
        f"random {', '.join(c for t in g.terms for c in t.names)} by {g.name}"
        for g in m.design.groups
    )
    fixed = ", ".join(m.term_names[:MOST_TERMS]) or "none"
    random = f"; {groups}" if groups else ""
    return clean(f"{_response(m)}: fixed {fixed}{random}; residual error")
