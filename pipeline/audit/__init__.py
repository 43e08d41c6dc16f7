"""Audits by people: a sample of questions as a page, their answers in the manifest, and what follows from them.

run ─ sample ─┬─ <root>/audits/<name>.json      strata and weights, which the page does not show
              └─ page ─► people ─► answers.jsonl ─ answers ─► <root>/99-audit ─ agreement ─► `ola status`
"""
