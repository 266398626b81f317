"""Rankings and judgements: what was found against what should have been. Knows no model and no index.

``beir.py`` reads test collections, ``runs.py`` TREC runs and qrels, ``measures.py`` computes nDCG and its relatives
through ``ir-measures``, ``bm25.py`` is the lexical baseline through ``bm25s``.
"""
