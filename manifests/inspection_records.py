"""The record of step `inspect`: technical scores of a clip's stored frames and sound."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenText:
    """A line of text in a frame."""

    time: float
    """Time of the frame, in seconds on the clip's clock."""
    kind: str
    """`subtitle` (its text changes and its place does not), `logo` (stands still: also watermarks and names), `slide`
    (several lines), or `scene`: all other text."""
    text: str
    """The line as it was read, often without its spaces."""
    score: float
    """Probability that the reader gives its text, 0.5..1."""
    left: float
    """Left edge of the line, as a share of the width of the frame."""
    top: float
    """Upper edge of the line, as a share of the height of the frame."""
    right: float
    """Right edge of the line, as a share of the width of the frame."""
    bottom: float
    """Lower edge of the line, as a share of the height of the frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Technical scores of a clip's stored frames and sound.

    Scores of a family that is switched off are null; those of sound are null without a sound track, too.
    """

    id: str
    """Id of the clip."""
    clip: str
    """Id of the clip."""
    sharpness: float | None = None
    """Variance of the Laplacian over the variance of the luma, from 0 (blurred), median of the frames. Null
    without contrast."""
    spatial_information: float | None = None
    """ITU-T P.910 SI: standard deviation of the Sobel-filtered luma, grey levels from 0, mean of the frames (P.910:
    maximum)."""
    temporal_information: float | None = None
    """ITU-T P.910 TI: standard deviation of the difference of neighbouring stored frames, which are further apart than
    those of the video; grey levels, 0..255, mean (P.910: maximum). Null for a single frame."""
    bars: float | None = None
    """Share of the area in black bars at the edges that all examined frames have, 0..1. Text in a bar ends
    the bar."""
    combing: float | None = None
    """Share of pixels between lines that alternate, as in frames of two fields, beyond that of columns; 0..1, mean of
    the frames. Storing smaller frames blurs combs away."""
    still: float | None = None
    """Share of neighbouring stored frames without a change, 0..1. Null for a single frame."""
    still_area: float | None = None
    """Share of the area that does not change from a stored frame to the next, 0..1, mean. Null for a single frame."""
    slideshow: float | None = None
    """Share of the stored frames that belong to one of several still pictures, of two frames or more each, 0..1; 0 for
    a single still picture. Null for a single frame."""
    clipping: float | None = None
    """Share of samples within 1 % of full scale, 0..1. A clean recording has a peak or two there."""
    bandwidth: float | None = None
    """Highest frequency within 50 dB of the loudest band, in Hz, 0..8000; by the loud moments of each band. Null for
    silence."""
    hum: float | None = None
    """How far steady lines at 50 or 60 Hz and their harmonics rise above the frequencies around, in dB from 0, mean of
    the highest two of the first five. Null for silence and for less than 2 s."""
    dc_offset: float | None = None
    """Absolute mean of the samples, as a share of full scale, 0..1."""
    noise_floor: float | None = None
    """Level of the quietest tenth of the moments of 20 ms, in dBFS, -96..0."""
    dynamic_range: float | None = None
    """Level of the loudest twentieth of the moments of 20 ms above `noise_floor`, in dB from 0."""
    dropouts: float | None = None
    """Gaps of 10 to 500 ms of digital silence amid sound, a minute."""
    text_area: float | None = None
    """Share of the area in boxes of text, 0..1, mean of the frames that were read."""
    subtitles: float | None = None
    """Share of the frames that were read with a line of the kind `subtitle`, 0..1."""
    logos: float | None = None
    """Share of the frames that were read with a line of the kind `logo`, 0..1."""
    slides: float | None = None
    """Share of the frames that were read with lines of the kind `slide`, 0..1."""
    scene_text: float | None = None
    """Share of the frames that were read with a line of the kind `scene`, 0..1."""
    text_times: tuple[float, ...] = ()
    """Times of the frames that were read, in seconds on the clip's clock."""
    screen_text: tuple[ScreenText, ...] = ()
    """The lines of text in these frames."""
    speech_share: float | None = None
    """Share of the sound with a voice, 0..1, by voice activity detection (Silero VAD)."""
    speech_quality: float | None = None
    """Quality of the sound as listeners would rate it, 1 (bad) to 5 (excellent), by DNSMOS (OVRL). It says nothing of
    sound without speech. Null for silence."""
    speech_clarity: float | None = None
    """Quality of the voice alone, 1..5, by DNSMOS (SIG). Null for silence."""
    speech_background: float | None = None
    """Absence of background noise, 1 (very intrusive) to 5 (not noticeable), by DNSMOS (BAK). Null for silence."""
    nudity: float | None = None
    """Highest probability of uncovered breasts of women, genitals, buttocks or anus in a frame, 0..1 (NudeNet)."""
