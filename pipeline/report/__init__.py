"""The report of a run: a folder with `index.html`, its styles and scripts, the data, and the media of some clips.

    score_table ── the scores of all clips and their tasks, from which the page computes the yield of other thresholds
    sample ─────── which clips get a card: drawn by a seed, from every reason
    cards ──────── all that the steps say of these clips
    media ──────── their frames and sound, within a limit
    training ───── losses and results of evaluations
    build ──────── writes the folder

Texts of videos and models are data: Python escapes them, and the scripts set them as text, never as HTML.
"""
