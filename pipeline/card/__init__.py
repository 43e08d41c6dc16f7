"""The dataset card of a run: `README.md` with the header of the Hugging Face Hub, and `croissant.json`.

    facts ─────── counts of the run and its shards, with the SQL of `queries`
    provenance ── models, prompts and software, by digest
    header ────── the YAML header; croissant ── the metadata of MLCommons Croissant 1.0
    page ──────── the text; markdown ── its escapes: texts of videos and models are data, never markup
    build ─────── writes both files

The same run gives the same bytes: no clock, and no path but the folders of the sources.
"""
