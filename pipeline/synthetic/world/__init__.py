"""A procedural world of small clips whose truth is known: what a pipeline and a model make of it can be measured.

seed and number -> `scenes.compose` -> `drawing.draw` (a picture at any time), `hearing.hear` (the sound, with the times
of its words), `telling` (captions), `asking` (questions, answers and what each needs) -> `film` (.mp4) and `truth`.

The splits are ranges of seeds (`vocabulary.SPLITS`): what is held out, held out alone, and nothing else differs.

    seeds      split        voices    pairs of colour and shape, of number and noun
    0-999      train        seen      seen
    1000-1999  val          seen      seen
    2000-2999  test         seen      seen
    3000-3999  test-voices  held out  seen
    4000-4999  test-pairs   seen      held out
    5000-5999  test-both    held out  held out
"""
