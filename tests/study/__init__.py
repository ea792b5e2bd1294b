"""`make study`: how well hedges work out of sample, by estimator, window, shrinkage and more; docs/model-quality.md.

Each choice is a variant of the default: the hedge ratios of a session are held against the raw returns of the next one,
on the cells that the variant and the default have in common. Nothing is chosen by looking at what it is judged on: the
candidates are judged on even years and half of the names, and again on odd years and the other half.
"""
