"""Generate films with known content, and score a run of the pipeline against it.

    seed, number ─ scenes ─┬─ frames, audio ────── video_writer ─► .mp4
                           └─ captions, questions ── truth ──────► .truth.json ─ score, metrics

A split is a range of seeds (`vocabulary.SPLITS`). The test splits differ only in the vocabulary that is held out:

    seeds      split        voices    pairs of colour and shape, of number and noun
    0-999      train        seen      seen
    1000-1999  val          seen      seen
    2000-2999  test         seen      seen
    3000-3999  test-voices  held out  seen
    4000-4999  test-pairs   seen      held out
    5000-5999  test-both    held out  held out
"""
