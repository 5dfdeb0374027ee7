"""From answers to tables, and back: what a run directory holds beside its manifest.

Comes in: cells as they are finished (`benchmark.cells.CellResult`), and measured shared artifacts. Goes out: `Tables`
(`tables`), written as Parquet; and `Run` (`read`), the tables read back, which reporters get.

`tabulation` makes the tables. What a cell by itself brings: rows of `measures`, blocks of `samples` and `curves`. What
all bring together: `groups` of attacks, `comparisons` of defenses, `subjects` of trust marks, published values
(`references`); `frames` puts rows into tables. `gallery` keeps images, `export` writes tables for other programs.
"""
