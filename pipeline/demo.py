"""`make demo`: the whole path on real encoded video, in about a minute: videos -> clips -> shards, and a look at each.

The videos are made on the spot with ffmpeg (H.264 and AAC, with subtitles beside them); three of them are trouble.
Then an Ola of random weights is asked, to show the steps that ask a model: what it says means nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.media.safety import ffmpeg_exe

SCENES = ("testsrc2", "mandelbrot", "life=mold=10:ratio=0.1:death_color=blue:life_color=white", "smptebars")
LINES = (
    "Welcome to the demonstration.",
    "Every video is cut where its scene changes.",
    "Its sound is kept beside its pictures.",
    "And what is said becomes something to learn.",
)


def encode(path: Path, pictures: Sequence[str], sound: str | None) -> None:
    """A video of four seconds a scene; `sound` is an ffmpeg source, or None for none."""
    inputs = [part for name in pictures for part in ("-f", "lavfi", "-t", "4", "-i", _sized(name))]
    joined = "".join(f"[{n}:v]format=yuv420p,setsar=1[v{n}];" for n in range(len(pictures)))
    joined += "".join(f"[v{n}]" for n in range(len(pictures))) + f"concat=n={len(pictures)}:v=1:a=0[v]"
    heard = ["-f", "lavfi", "-t", str(4 * len(pictures)), "-i", sound] if sound else []
    maps = ["-map", "[v]", *(["-map", f"{len(pictures)}:a", "-c:a", "aac"] if sound else [])]
    command = [ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *inputs, *heard, "-filter_complex", joined, *maps]
    subprocess.run([*command, "-c:v", "libx264", "-preset", "veryfast", str(path)], check=True)


def _sized(name: str) -> str:
    return f"{name}{':' if '=' in name else '='}size=320x180:rate=24"


def subtitles(lines: Sequence[str]) -> str:
    """An .srt with a line every four seconds."""
    cues = (f"{n + 1}\n00:00:{4 * n:02d},500 --> 00:00:{4 * n + 3:02d},500\n{line}\n" for n, line in enumerate(lines))
    return "\n".join(cues)


def make_videos(folder: Path) -> None:
    """Three good videos, of which one is silent, and three that are trouble."""
    beeps = "aevalsrc='0.3*sin(880*PI*t)*between(mod(t,4),0.5,3.5)':s=44100"
    encode(folder / "tour.mp4", SCENES, beeps)
    (folder / "tour.en.srt").write_text(subtitles(LINES))
    encode(folder / "short talk.mkv", SCENES[:2], beeps)
    (folder / "short talk.vtt").write_text("WEBVTT\n\n" + subtitles(LINES[:2]).replace(",", "."))
    encode(folder / "silent.mp4", SCENES[1:3], None)
    shutil.copy(folder / "tour.mp4", folder / "tour again.mp4")
    (folder / "cut off.mp4").write_bytes((folder / "silent.mp4").read_bytes()[:20000])
    (folder / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:4,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n")


def make_model(folder: Path) -> None:
    """An Ola of half a million random weights, whose tokens are single bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from ola.config import OlaConfig
    from ola.model import OlaForConditionalGeneration
    from ola.processor import OlaProcessor

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>", "<|endoftext|>"])
    few: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    config = OlaConfig(
        **few,
        vocab_size=512,
        num_key_value_heads=2,
        max_position_embeddings=16384,
        speech_projector_size=64,
        vision={**few, "image_size": 256},
        whisper={"d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 64},
        beats={**few, "embed_dim": 16, "conv_pos": 16, "conv_pos_groups": 4, "num_classes": 2},
    )
    torch.manual_seed(0)
    OlaForConditionalGeneration(config).save_pretrained(folder)
    words: Any = PreTrainedTokenizerFast
    OlaProcessor(words(tokenizer_object=tokenizer), config).save_pretrained(folder)


def ola(*arguments: str) -> None:
    """Show a command, and run it as a user would."""
    print(f"\n$ ola {' '.join(repr(a) if ' ' in a else a for a in arguments)}", flush=True)  # noqa: T201
    code = "from pipeline.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)


def main() -> None:
    """Run the demonstration in a folder of its own, which is left to look at."""
    folder = Path(tempfile.mkdtemp(prefix="ola-demo-"))
    videos, root = folder / "videos", str(folder / "run")
    videos.mkdir()
    make_videos(videos)
    ola("run", str(videos), "--root", root, "--set", "pack.val=0")
    ola("sql", root, "SELECT v.uri[-12:] AS video, count(*) AS clips, round(avg(motion), 2) AS motion "
        "FROM split c JOIN ingest v ON v.id = c.video GROUP BY ALL ORDER BY 1")  # fmt: skip
    ola("sql", root, "SELECT start_ms, end_ms, text FROM transcribe t JOIN split c ON c.id = t.clip ORDER BY c.id")
    ola("why", root, str(videos / "playlist.mp4"))
    ola("check", root)
    ola("export", root, str(folder / "ola.json"))
    ola("run", str(videos), "--root", root)
    make_model(folder / "model")
    print("\nThe same with the steps that ask a model. Its weights are random: what it says means nothing.")  # noqa: T201
    brief = ("caption.longest=16", "ask.longest=32", "ask.least_informative=0", f"annotator.model={folder / 'model'}")
    ola("run", str(videos), "--root", root, *(part for setting in brief for part in ("--set", setting)))
    ola("sql", root, "SELECT view, count(*) AS captions, any_value(text) AS one FROM caption GROUP BY ALL")
    print("\nA few steps of training on the shards: the speech MLP first, then everything but the encoders.")  # noqa: T201
    few = ("batch=2", "epochs=2", "omni.replay={}")
    ola("train", "omni", "--shards", root, "--model", str(folder / "model"), "--out", str(folder / "trained"),
        *(part for setting in few for part in ("--set", setting)))  # fmt: skip
    print(f"\nAll of it lies in {folder}")  # noqa: T201


if __name__ == "__main__":
    main()
