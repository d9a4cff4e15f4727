"""Tables told by their ruled lines: horizontal and vertical segments that close to a grid."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

Corners = tuple[float, float, float, float]
TOUCH = 2.5  # points between lines that are meant to meet
SAME = 2.5  # points between lines that are meant to be one
COVERED = 0.85  # of a border that must be drawn
MOST_CELLS = 20_000


@dataclass(frozen=True, slots=True)
class Segment:
    x0: float
    y0: float
    x1: float
    y1: float

    @classmethod
    def thin(cls, x0: float, y0: float, x1: float, y1: float) -> "Segment":
        """The middle of a narrow rectangle."""
        if x1 - x0 < y1 - y0:
            return cls((x0 + x1) / 2, y0, (x0 + x1) / 2, y1)
        return cls(x0, (y0 + y1) / 2, x1, (y0 + y1) / 2)

    @classmethod
    def frame(cls, x0: float, y0: float, x1: float, y1: float) -> "list[Segment]":
        return [cls(x0, y0, x1, y0), cls(x0, y1, x1, y1), cls(x0, y0, x0, y1), cls(x1, y0, x1, y1)]

    @property
    def horizontal(self) -> bool:
        return self.x1 - self.x0 >= self.y1 - self.y0


class Grid:
    """A ruled table. Cells between which no line is drawn are one."""

    def __init__(self, segments: Sequence[Segment], xs: Sequence[float], ys: Sequence[float]) -> None:
        self.xs, self.ys = xs, ys
        self.rows, self.columns = len(ys) - 1, len(xs) - 1
        self.box: Corners = (xs[0], ys[0], xs[-1], ys[-1])
        self._segments = segments

    @cached_property
    def _owners(self) -> list[list[tuple[int, int]]]:
        owners = [[(row, column) for column in range(self.columns)] for row in range(self.rows)]
        for row in range(self.rows):
            for column in range(1, self.columns):
                if not _drawn(self._upright[column], self.ys[row] + 1, self.ys[row + 1] - 1):
                    owners[row][column] = owners[row][column - 1]
        for row in range(1, self.rows):
            for column in range(self.columns):
                if owners[row][column] == (row, column) and not _drawn(
                    self._level[row], self.xs[column] + 1, self.xs[column + 1] - 1
                ):
                    above = owners[row - 1][column]
                    for place in range(column, self.columns):
                        if owners[row][place] == (row, column):
                            owners[row][place] = above
        return owners

    @cached_property
    def _upright(self) -> list[list[tuple[float, float]]]:
        return [[(s.y0, s.y1) for s in self._segments if not s.horizontal and abs(s.x0 - x) <= SAME] for x in self.xs]

    @cached_property
    def _level(self) -> list[list[tuple[float, float]]]:
        return [[(s.x0, s.x1) for s in self._segments if s.horizontal and abs(s.y0 - y) <= SAME] for y in self.ys]

    @property
    def closed(self) -> bool:
        """Whether a line goes all the way around, and something divides what is inside."""
        x0, y0, x1, y1 = self.box
        around = (
            _drawn(self._level[0], x0, x1), _drawn(self._level[-1], x0, x1),
            _drawn(self._upright[0], y0, y1), _drawn(self._upright[-1], y0, y1),
        )  # fmt: skip
        if not all(around) or self.rows * self.columns > MOST_CELLS:
            return False
        cells = {place for row in self._owners for place in row}
        return len(cells) >= 2 and len(cells) * 2 >= self.rows * self.columns

    def owner(self, x: float, y: float) -> tuple[int, int] | None:
        """The first place of the cell that this point is in."""
        if not (self.box[0] <= x <= self.box[2] and self.box[1] <= y <= self.box[3]):
            return None
        column, row = bisect_right(self.xs, x) - 1, bisect_right(self.ys, y) - 1
        return self._owners[min(row, self.rows - 1)][min(column, self.columns - 1)]


def grids(segments: Sequence[Segment]) -> list[Grid]:
    """The tables that these lines rule, from the top."""
    found = []
    for group in _touching([s for s in segments if max(s.x1 - s.x0, s.y1 - s.y0) > 4]):
        xs = _distinct(s.x0 for s in group if not s.horizontal)
        ys = _distinct(s.y0 for s in group if s.horizontal)
        if len(xs) >= 2 and len(ys) >= 2 and (grid := Grid(group, xs, ys)).closed:
            found.append(grid)
    return sorted(found, key=lambda grid: grid.box[1])


def _touching(segments: Sequence[Segment]) -> list[list[Segment]]:
    """Groups of segments that meet, by a sweep from the top."""
    parents = list(range(len(segments)))

    def root(at: int) -> int:
        while parents[at] != at:
            parents[at] = parents[parents[at]]
            at = parents[at]
        return at

    order = sorted(range(len(segments)), key=lambda at: segments[at].y0)
    live: list[int] = []
    for at in order:
        one = segments[at]
        live = [other for other in live if segments[other].y1 >= one.y0 - TOUCH]
        for other in live:
            two = segments[other]
            if two.x0 <= one.x1 + TOUCH and one.x0 <= two.x1 + TOUCH:
                parents[root(at)] = root(other)
        live.append(at)
    groups: dict[int, list[Segment]] = {}
    for at, segment in enumerate(segments):
        groups.setdefault(root(at), []).append(segment)
    return list(groups.values())


def _distinct(values: Iterable[float]) -> list[float]:
    found: list[list[float]] = []
    for value in sorted(values):
        if found and value - found[-1][-1] <= SAME:
            found[-1].append(value)
        else:
            found.append([value])
    return [sum(group) / len(group) for group in found]


def _drawn(spans: Iterable[tuple[float, float]], start: float, end: float) -> bool:
    """Whether the spans cover nearly all between start and end."""
    covered, at = 0.0, start
    for low, high in sorted(spans):
        fresh = min(high, end) - max(low, at)
        if fresh > 0:
            covered += fresh
            at = min(high, end)
    return end <= start or covered >= COVERED * (end - start)
