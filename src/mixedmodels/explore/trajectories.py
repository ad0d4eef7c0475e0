"""`cluster_trajectories`: longitudinal k-means in the sense of the R package kml."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import check_choice, check_whole, checked
from mixedmodels.design.frame import attach, column_names, to_native
from mixedmodels.design.levels import label_of
from mixedmodels.errors import DataError, ModelError
from mixedmodels.explore.columns import Labels, counted, labels, listed, open_frame, quote, take
from mixedmodels.explore.criteria import CRITERIA
from mixedmodels.explore.crosstab import CrossTable
from mixedmodels.explore.grid import Grid, read_grid
from mixedmodels.explore.options import (
    numbers_of_clusters,
    weights_of_times,
)
from mixedmodels.explore.partitions import SILHOUETTES, Partition, Plan, Search
from mixedmodels.explore.starts import STARTS
from mixedmodels.output import html
from mixedmodels.output.layout import Block, Facts, Table, block_text, number

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# times whose means the summary shows
SHOWN_TIMES = 6


@checked
def cluster_trajectories(
    data: Any,
    *,
    id: str,  # noqa: A002
    time: str,
    response: str,
    k: int | Iterable[int] = range(2, 6),
    n_starts: int = 20,
    starts: str = "all",
    distance: Literal["euclidean", "manhattan"] = "euclidean",
    impute: Literal["copy-mean"] | None = None,
    time_weights: str | Sequence[float] | None = None,
    max_missing: int | None = None,
    criterion: str = "calinski_harabasz",
    seed: int = 0,
) -> TrajectoryClusters:
    """Group subjects whose trajectories are alike: k-means for longitudinal data.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
        Long: one row for each subject and time. Never changed.
    id, time, response : str
        Columns of `data`. The response must hold numbers; times may be numbers, dates or ordered
        categories. A row that is not there and a missing response are the same: a gap.
    k : int or iterable of int
        Numbers of clusters to try, at most 26.
    n_starts : int
        Starts for each k; the partition with the smallest sum of distances wins.
    starts : {"all", "kmeans++", "maxDist", "randomK", "randomAll"}
        How a start chooses its centres. "all" begins with maxDist, which knows no chance, and
        goes on with kmeans++ and randomK in turn.
    distance : {"euclidean", "manhattan"}
        Squared Euclidean distance, with means as centres; or absolute distance, with medians.
    impute : {None, "copy-mean"}
        None leaves gaps out of the distance; "copy-mean" fills them before clustering.
    time_weights : None, "spacing" or sequence of float
        How much each time counts: all the same; half the distance between its neighbours (so that
        the distance measures an area between curves); or your own weights, in the order of time.
    max_missing : int, optional
        Most values that a trajectory may lack; subjects with more get no cluster. By default a
        trajectory needs two values, as in kml.
    criterion : str
        Which criterion chooses `best_k`; see Notes.
    seed : int
        Fixes all draws: the same seed gives the same clusters on any number of cores. NumPy's
        global generator is not used.

    Returns
    -------
    TrajectoryClusters
        Cluster A is the largest, then B, and so on.

    Raises
    ------
    DataError
        Unknown columns, several values of a subject at one time, one time only, a response that
        is not numeric, more clusters than subjects or than different trajectories, trajectories
        that all coincide.
    ModelError
        An option that does not exist, or a number out of range.

    Notes
    -----
    **Gaps.** The distance of trajectory i from a centre sums over the times at which i was
    observed, times (number of times) / (number observed): Gower's adjustment. Centres are means
    of the observed values. With this the sum of squares over observed values falls at each step.

    **Criteria.** All are given so that larger is better, as kml does: those that are minimised in
    the literature have their sign turned. With n subjects, B and W the traces of the covariance
    between and within clusters:

    - ``calinski_harabasz``: B/W (n-k)/(k-1); ``calinski_kryszczuk``: B/W (n-1)/(n-k);
      ``calinski_genolini``: B/W (n-k)/sqrt(k-1).
    - ``ray_turi``: minus the mean squared distance to the own centre over the smallest squared
      distance between centres.
    - ``davies_bouldin``: minus the mean over clusters of the largest (s_i + s_j)/d_ij, s the mean
      distance to the own centre, d the distance between centres.
    - ``silhouette``: mean silhouette width; of 2,000 subjects drawn by `seed` if there are more.
    - ``bic``, ``aic``, ``aicc``: from the likelihood of a mixture of normal distributions about
      the mean trajectories with one variance, h = kT + 1 parameters for T times, and n subjects;
      ``bic2`` and ``aicc2`` count observed values instead of subjects.

    Distances in the first six are Euclidean, on trajectories whose gaps are filled by copy-mean;
    the likelihood is that of the observed values. The values of one subject are not independent
    given its cluster, so the likelihood favours too many clusters; it ranks, it does not test.

    **Starts.** maxDist takes two trajectories far apart, then always the one farthest from those
    taken; it finds the first two by going from the mean to the farthest and on while the
    distance grows, as all pairs would cost n^2. randomK draws k trajectories, randomAll a random
    partition. An empty cluster takes the trajectory that is farthest from its centre.

    **End of a start.** Under Euclidean distance single trajectories are moved while that lowers
    the sum of squares [5]_; kml stops before that. With more than 100,000 values only the best
    start goes that far.

    References
    ----------
    .. [1] Genolini, C. and Falissard, B. (2010). KmL: k-means for longitudinal data.
       Computational Statistics 25, 317-328.
    .. [2] Genolini, C., Alacoque, X., Sentenac, M. and Arnaud, C. (2015). kml and kml3d: R packages
       to cluster longitudinal data. Journal of Statistical Software 65(4).
    .. [3] Genolini, C., Ecochard, R. and Jacqmin-Gadda, H. (2013). Copy mean: a new method to
       impute intermittent missing values in longitudinal studies. Open Journal of Statistics 3,
       26-40.
    .. [4] Arthur, D. and Vassilvitskii, S. (2007). k-means++: the advantages of careful seeding.
       Proceedings of SODA, 1027-1035.
    .. [5] Hartigan, J. A. and Wong, M. A. (1979). A k-means clustering algorithm. Applied
       Statistics 28, 100-108.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> c = mm.cluster_trajectories(piglets, id="animal", time="time", response="BW", k=[2, 3])
    >>> c.best_k
    2
    >>> c.sizes
      cluster   n  proportion
    0       A  38    0.506667
    1       B  37    0.493333
    >>> with_clusters = c.assign(piglets)
    """
    wanted = numbers_of_clusters(k, len(LETTERS))
    check_choice("starts", starts, ("all", *STARTS))
    check_choice("criterion", criterion, CRITERIA)
    check_whole("n_starts", n_starts, least=1)
    check_whole("seed", seed, least=0)
    grid = read_grid(data, id=id, time=time, response=response, max_missing=max_missing)
    n = len(grid.subjects)
    if wanted[-1] > n:
        raise DataError(
            f"k={wanted[-1]}, but there are only {n} subjects ('{id}'): ask for fewer clusters"
        )
    weights = weights_of_times(time_weights, grid.position, time)
    plan = Plan(n_starts, starts, distance, impute, weights, seed)
    search = Search.of(grid, plan)
    partitions = {size: search.best(size) for size in wanted}
    best = _best(partitions, criterion)
    return TrajectoryClusters(grid, plan, partitions, criterion, best, best)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TrajectoryClusters:
    """Partitions of subjects by their trajectories, one for each number of clusters.

    Printing it gives a summary. What it shows are the `k` clusters in use: at first `best_k`;
    `choose` changes that.

    Attributes
    ----------
    grid : Grid
        The trajectories.
    plan : Plan
        How the search was made.
    partitions : dict of int to Partition
        The best partition for each number of clusters.
    criterion : str
        What chose `best_k`.
    best_k : int
        The number of clusters with the best criterion.
    k : int
        The number of clusters in use.
    """

    grid: Grid
    plan: Plan
    partitions: dict[int, Partition]
    criterion: str
    best_k: int
    k: int

    @checked
    def choose(self, k: int) -> TrajectoryClusters:
        """The same result with another number of clusters in use.

        Parameters
        ----------
        k : int
            One of those that were tried.

        Raises
        ------
        ModelError
        """
        self._partition(k)
        return replace(self, k=k)

    @checked
    def labels(self, k: int | None = None) -> Any:
        """The cluster of each subject.

        Parameters
        ----------
        k : int, optional
            By default the number in use.

        Returns
        -------
        frame
            id, cluster
        """
        return to_native(
            {"id": list(self.grid.subjects), "cluster": self._letters(self._partition(k))},
            self.grid.kind,
        )

    @checked
    def assign(self, data: Any, *, k: int | None = None, name: str = "cluster") -> Any:
        """Any data that hold the subjects, with the cluster as a further column.

        Parameters
        ----------
        data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
            Never changed. Needs the column of ids; ids are matched by what they read.
        k : int, optional
            By default the number in use.
        name : str
            Of the new column.

        Returns
        -------
        frame
            Rows of subjects without a cluster have no value.

        Raises
        ------
        DataError
            There is a column of that name, or no column of ids.
        """
        if name in column_names(data):
            raise DataError(f"data has a column '{name}' already; give another one with name=")
        frame, _ = open_frame(data)
        letters = self._letters(self._partition(k))
        place, rows = self._match(labels(frame, self.grid.id, "id"))
        known = place[rows] >= 0
        every = None if bool(known.all()) else known
        return attach(frame, every, {name: [letters[i] for i in place[rows][known].tolist()]})

    @property
    def ks(self) -> tuple[int, ...]:
        """The numbers of clusters that were tried."""
        return tuple(self.partitions)

    @property
    def sizes(self) -> Any:
        """Frame of the clusters in use: cluster, n (subjects), proportion."""
        sizes = self.partitions[self.k].sizes
        return to_native(
            {"cluster": list(LETTERS[: self.k]), "n": sizes, "proportion": sizes / sizes.sum()},
            self.grid.kind,
        )

    @property
    def probabilities(self) -> Any:
        """Frame of membership probabilities: id, cluster, and a column for each cluster.

        Those of a mixture of normal distributions about the mean trajectories, with one variance
        and the clusters' sizes as weights, given the observed values.
        """
        partition = self.partitions[self.k]
        columns = dict(zip(LETTERS, partition.probabilities.T, strict=False))
        return to_native(
            {"id": list(self.grid.subjects), "cluster": self._letters(partition), **columns},
            self.grid.kind,
        )

    @property
    def means(self) -> Any:
        """Frame of mean trajectories: cluster, time (as in the data), mean, n (observed values)."""
        n_times = len(self.grid.position)
        partition = self.partitions[self.k]
        return to_native(
            {
                "cluster": [letter for letter in LETTERS[: self.k] for _ in range(n_times)],
                "time": take(self.grid.times, np.tile(np.arange(n_times), self.k)),
                "mean": partition.means.ravel(),
                "n": partition.counts.ravel(),
            },
            self.grid.kind,
        )

    @property
    def criteria(self) -> Any:
        """Frame of criteria, the larger the better: k, one column each, within, n_same.

        ``within`` is the sum of distances to the own centre over observed values (for which
        smaller is better); ``n_same`` counts the starts that ended within 0.01 % of it.
        """
        found = self.partitions.values()
        return to_native(
            {
                "k": np.array(self.ks),
                **{name: np.array([p.criteria[name] for p in found]) for name in CRITERIA},
                "within": np.array([p.within for p in found]),
                "n_same": np.array([p.n_same for p in found]),
            },
            self.grid.kind,
        )

    @checked
    def cross_table(self, by: str, k: int | None = None) -> CrossTable:
        """How the clusters relate to another column, such as the treatment.

        Parameters
        ----------
        by : str
            A column of the data that were clustered, constant within each subject.
        k : int, optional
            By default the number in use.

        Returns
        -------
        CrossTable
            Prints counts and shares; ``.table`` and ``.tests`` are frames.

        Raises
        ------
        DataError
            No such column, or one that varies within a subject.

        Notes
        -----
        The clusters were found without looking at the column, so the tests are valid.
        """
        partition = self._partition(k)
        groups = labels(self.grid.data, by, "by")
        place, rows = self._match(labels(self.grid.data, self.grid.id, "id"))
        level = self._level_of_subject(groups, place[rows])
        known = level >= 0
        n_clusters, n_levels = len(partition.means), len(groups.levels)
        cell = partition.labels[known].astype(np.int64) * n_levels + level[known]
        counts = np.bincount(cell, minlength=n_clusters * n_levels).reshape(n_clusters, n_levels)
        used = np.flatnonzero(counts.any(axis=0))
        return CrossTable(
            by,
            tuple(LETTERS[:n_clusters]),
            tuple(str(groups.levels[i]) for i in used.tolist()),
            counts[:, used],
            int(np.count_nonzero(~known)),
            self.plan.seed,
            self.grid.kind,
        )

    def __str__(self) -> str:
        return "\n\n".join([self._title(), *map(block_text, self._blocks())])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html.page(self._title(), self._blocks())

    def _partition(self, k: int | None) -> Partition:
        if k is None:
            k = self.k
        if k not in self.partitions:
            raise ModelError(f"k={k!r} was not tried; there are partitions for {listed(self.ks)}")
        return self.partitions[k]

    def _letters(self, partition: Partition) -> list[str]:
        return [LETTERS[code] for code in partition.labels.tolist()]

    def _match(self, ids: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Place of each level of some ids among the subjects, -1 for none; the rows' levels.

        Rows without an id point to a last entry, which is -1.
        """
        known = {str(subject): i for i, subject in enumerate(self.grid.subjects)}
        place = [known.get(str(level), -1) for level in ids.levels]
        return np.array([*place, -1]), ids.codes

    def _level_of_subject(self, groups: Labels, subject: NDArray[np.int64]) -> NDArray[np.int64]:
        """The one level of each subject, -1 where it has none."""
        rows = (subject >= 0) & (groups.codes >= 0)
        level = np.full(len(self.grid.subjects), -1, np.int64)
        level[subject[rows]] = groups.codes[rows]
        other = np.flatnonzero(level[subject[rows]] != groups.codes[rows])
        if len(other):
            row = np.flatnonzero(rows)[other[0]]
            i = subject[row]
            pair = sorted({int(level[i]), int(groups.codes[row])})
            raise DataError(
                f"column '{groups.name}' varies within {self.grid.id} "
                f"{quote(self.grid.subjects[i])} ({listed([groups.levels[j] for j in pair])}); a "
                "table by cluster needs one level for each subject"
            )
        return level

    def _title(self) -> str:
        grid = self.grid
        return f"Clusters of {grid.response} over {grid.time}: k = {self.k}"

    def _blocks(self) -> list[Block]:
        grid, plan = self.grid, self.plan
        gaps = int(np.isnan(grid.values).sum())
        search = [
            plan.distance,
            *(["gaps filled by copy-mean"] if plan.impute else []),
            *(["weighted times"] if np.ptp(plan.weights) > 0.0 else []),
            f"{counted(plan.n_runs(), 'start')} ({plan.starts})",
        ]
        facts = [
            ("Data", f"{len(grid.subjects)} subjects ({grid.id}) at {len(grid.position)} times"),
            ("Gaps", f"{gaps} of {grid.values.size} values"),
            ("Search", ", ".join(search)),
        ]
        if grid.excluded:
            facts.append(("Left out", f"{counted(len(grid.excluded), 'subject')}"))
        return [Facts(tuple(facts)), self._means_block(), self._criteria_block()]

    def _means_block(self) -> Table:
        partition = self.partitions[self.k]
        sizes, n_times = partition.sizes, len(self.grid.position)
        shown = np.unique(np.linspace(0, n_times - 1, min(n_times, SHOWN_TIMES)).round()).astype(
            int
        )
        times = [label_of(value) for value in _plain(take(self.grid.times, shown))]
        rows = tuple(
            (letter, str(size), f"{100.0 * size / sizes.sum():.1f}%", *map(number, means))
            for letter, size, means in zip(
                LETTERS, sizes.tolist(), partition.means[:, shown].tolist(), strict=False
            )
        )
        note = "" if len(shown) == n_times else f"{len(shown)} of {n_times} times shown."
        title = f"Mean {self.grid.response} at each {self.grid.time}"
        return Table(title, ("cluster", "n", "share", *times), rows, 1, note)

    def _criteria_block(self) -> Table:
        found = self.partitions.values()
        header = ["criterion", *(f"k={k}" for k in self.ks)]
        rows = [[name, *(number(p.criteria[name]) for p in found)] for name in CRITERIA]
        if len(self.ks) > 1:
            header.append("best k")
            for row in rows:
                row.append(str(_best(self.partitions, row[0])))
        rows.append(["starts that agree", *(str(p.n_same) for p in found)])
        notes = [f"best_k = {self.best_k} by {self.criterion}."] if len(self.ks) > 1 else []
        alone = [str(k) for k, p in self.partitions.items() if p.n_same == 1]
        if alone and self.plan.n_runs() > 1:
            notes.append(
                f"One start alone found the best of k = {', '.join(alone)}: try more n_starts."
            )
        if len(self.grid.subjects) > SILHOUETTES:
            notes.append(f"Silhouette of {SILHOUETTES} subjects drawn at random.")
        body = tuple(tuple(row) for row in rows)
        return Table("Criteria (larger is better)", tuple(header), body, 1, " ".join(notes))


# --- helpers --------------------------------------------------------------------------------------


def _best(partitions: dict[int, Partition], criterion: str) -> int:
    """The number of clusters with the largest criterion; the smallest if it is never defined."""
    values = np.array([p.criteria[criterion] for p in partitions.values()])
    return list(partitions)[int(np.argmax(np.where(np.isnan(values), -np.inf, values)))]


def _plain(series: Any) -> list[Any]:
    import narwhals.stable.v2 as nw

    return list(nw.from_native(series, series_only=True).to_list())
