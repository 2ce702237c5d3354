"""Solvers: pair measurements in, placed tiles out. Each file is one method; `sparse` is the default.

``sparse`` least squares on the matched points; ``slam`` python-graphslam as in the DEMIS paper; ``factor_graph`` gtsam.
The other files hold what they share: `measurements` (arrays out of records), `components` (connected parts, islands,
the stage), and the steps of ``sparse``: `loops`, `normal_equations`, `uncertainty`.
"""
