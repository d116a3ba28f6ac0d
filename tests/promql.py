"""As much of PromQL as our dashboard and alerts use, over two scrapes of a real server: no Prometheus runs in the tests.

Stricter than Prometheus: what selects nothing, has no matching labels on the other side, or takes the rate of what is no
counter is a NonsenseError, where Prometheus would show an empty panel for ever. Comparisons filter nothing, so that an alert
that is not firing shows that it could.
"""

from __future__ import annotations

import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import promql_parser as ast
from prometheus_client.parser import text_string_to_metric_families

Labels: TypeAlias = frozenset[tuple[str, str]]
Vector: TypeAlias = dict[Labels, float]
Series: TypeAlias = dict[str, Vector]
Value: TypeAlias = Vector | float

ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
    "/": lambda a, b: a / b if b else math.nan,
}  # fmt: skip
COMPARISONS = {">", "<", ">=", "<=", "==", "!="}


class NonsenseError(AssertionError):
    """The expression can never give what its author meant; the message says which part of it."""


def read_series(text: str, **given: str) -> Series:
    """The samples of a scrape, with the labels that Prometheus itself puts to them."""
    series: Series = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series[sample.name][frozenset({**sample.labels, **given}.items())] = sample.value
    series["up"][frozenset(given.items())] = 1.0
    return series


class Evaluator:
    """Evaluates an expression between two scrapes, which stand for the ends of every range."""

    def __init__(self, before: Series, after: Series) -> None:
        self._before = before
        self._after = after

    def evaluate(self, text: str) -> Vector:
        """The result, never empty. Raises NonsenseError."""
        value = self._evaluate(ast.parse(text))
        assert isinstance(value, dict), "a number is no metric"
        return value

    def _evaluate(self, expression: Any) -> Value:
        match expression:
            case ast.NumberLiteral():
                return float(expression.val)
            case ast.ParenExpr():
                return self._evaluate(expression.expr)
            case ast.VectorSelector():
                return self._select(expression, self._after)
            case ast.Call():
                return self._call(expression.func.name, expression.args)
            case ast.AggregateExpr():
                return self._aggregate(expression)
            case ast.BinaryExpr():
                return self._combine(expression, self._evaluate(expression.lhs), self._evaluate(expression.rhs))
        raise NotImplementedError(str(expression))

    def _select(self, selector: Any, series: Series) -> Vector:
        matchers = selector.matchers.matchers
        found = {
            labels: value
            for labels, value in series.get(selector.name, {}).items()
            if all(fits(each, dict(labels).get(each.name, "")) for each in matchers)
        }
        if not found and series is self._after:
            raise NonsenseError(f"{selector.prettify()} selects nothing")
        return found

    def _call(self, name: str, arguments: list[Any]) -> Vector:
        if name in ("rate", "increase"):
            return self._increase(arguments[0].vector_selector)
        if name == "histogram_quantile":
            vector = self._evaluate(arguments[1])
            assert isinstance(vector, dict)
            return find_quantiles(float(arguments[0].val), vector)
        raise NotImplementedError(name)

    def _increase(self, selector: Any) -> Vector:
        if not selector.name.endswith(("_total", "_bucket", "_sum", "_count")):
            raise NonsenseError(f"{selector.name} is no counter: its rate means nothing")
        before = self._select(selector, self._before)
        return {labels: value - before.get(labels, 0.0) for labels, value in self._select(selector, self._after).items()}

    def _aggregate(self, expression: Any) -> Vector:
        assert expression.prettify().startswith("sum"), "only sums are known here"
        vector = self._evaluate(expression.expr)
        assert isinstance(vector, dict)
        names = set(expression.modifier.labels) if expression.modifier else set()
        by = not expression.modifier or expression.modifier.type == ast.AggModifierType.By
        known = {name for labels in vector for name, _ in labels}
        if names - known:
            raise NonsenseError(f"{expression.prettify()}: nothing has a label {', '.join(sorted(names - known))}")
        sums: Vector = defaultdict(float)
        for labels, value in vector.items():
            sums[pick(labels, names, only=by)] += value
        return dict(sums)

    def _combine(self, expression: Any, left: Value, right: Value) -> Value:
        sign = str(expression.op)
        work = (lambda a, b: a) if sign in COMPARISONS or sign == "and" else ARITHMETIC[sign]
        if isinstance(left, float) or isinstance(right, float):
            return combine_numbers(work, left, right)
        matching = expression.modifier and expression.modifier.matching
        names = set(matching.labels) if matching else set()
        only = bool(matching) and matching.type == ast.LabelModifierType.Include
        others = {pick(labels, names, only=only): value for labels, value in right.items()}
        pairs = ((labels, value, pick(labels, names, only=only)) for labels, value in left.items())
        found = {labels: work(value, others[key]) for labels, value, key in pairs if key in others}
        if not found:
            raise NonsenseError(f"{expression.prettify()}: the labels of its two sides never match")
        if len(others) < len(right):
            raise NonsenseError(f"{expression.prettify()}: several on the right side match one on the left")
        return found


def combine_numbers(work: Callable[[float, float], float], left: Value, right: Value) -> Value:
    if isinstance(left, dict):
        assert isinstance(right, float)
        return {labels: work(value, right) for labels, value in left.items()}
    if isinstance(right, dict):
        return {labels: work(left, value) for labels, value in right.items()}
    return work(left, right)


def fits(matcher: Any, value: str) -> bool:
    equal = matcher.op in (ast.MatchOp.Equal, ast.MatchOp.NotEqual)
    fitting = value == matcher.value if equal else re.fullmatch(matcher.value, value) is not None
    return fitting == (matcher.op in (ast.MatchOp.Equal, ast.MatchOp.Re))


def pick(labels: Iterable[tuple[str, str]], names: set[str], *, only: bool) -> Labels:
    """Only these labels, or all but these."""
    return frozenset((name, value) for name, value in labels if (name in names) == only)


def find_quantiles(share: float, buckets: Mapping[Labels, float]) -> Vector:
    """The bound below which `share` of the observations are, for each histogram."""
    histograms: dict[Labels, dict[float, float]] = defaultdict(dict)
    for labels, value in buckets.items():
        if "le" not in dict(labels):
            raise NonsenseError("histogram_quantile() takes buckets, by le")
        histograms[pick(labels, {"le"}, only=False)][float(dict(labels)["le"])] = value
    quantiles = {}
    for labels, counts in histograms.items():
        bounds = sorted(counts)
        if bounds[-1] != math.inf:
            raise NonsenseError("a histogram lacks the bucket +Inf")
        quantiles[labels] = next(bound for bound in bounds if counts[bound] >= share * counts[math.inf])
    return quantiles
