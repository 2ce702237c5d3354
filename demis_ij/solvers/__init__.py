"""Solvers: pair measurements in, placed tiles out. Each file is one method; `sparse` is the default.

``sparse`` least squares on the matched points; ``slam`` python-graphslam as in the DEMIS paper; ``factor_graph`` gtsam.
`columns` is the engine under ``sparse``: tables in, columns out, up to millions of tiles and whole volumes. The other
files hold what they share: `tables` and `sums` (tiles and pairs as columns), `measurements` (records to tables and
back), `components` (connected parts, islands, the stage), and the steps of the engine: `sections`, `loops`, `beliefs`,
`robust` with `normal_equations`, `linear_steps`, `direct` and `multilevel`, `contested`, `uncertainty`, `outcome`.
"""
