/* The sound of a clip: player, waveform, and the words and frames that follow it. */
"use strict";

ola.player = {
  HEIGHT: 40,

  /* Return the player. marked: {words: [[element, start, end]], frames: [[element, seconds]]}, which follow the sound. */
  make(sound, marked) {
    const audio = ola.element("audio", { controls: true, preload: "metadata", src: sound.src });
    const { wave, head } = this.waveform(sound, (share) => { audio.currentTime = share * sound.seconds; });
    let running = false;
    const follow = () => {
      const now = audio.currentTime;
      const x = (sound.peaks.length * now) / (sound.seconds || 1);
      head.setAttribute("x1", x);
      head.setAttribute("x2", x);
      for (const [word, start, end] of marked.words) word.classList.toggle("now", start <= now && now < end);
      let shown = null;
      for (const [frame, at] of marked.frames) if (shown === null || at <= now) shown = frame;
      for (const [frame] of marked.frames) frame.classList.toggle("now", frame === shown && (now > 0 || !audio.paused));
    };
    const tick = () => { follow(); if (running) requestAnimationFrame(tick); };
    audio.addEventListener("play", () => { running = true; tick(); });
    for (const name of ["pause", "ended"]) audio.addEventListener(name, () => { running = false; follow(); });
    for (const name of ["seeked", "timeupdate"]) audio.addEventListener(name, follow);
    for (const [word, start] of marked.words) word.addEventListener("click", () => { audio.currentTime = start; });
    for (const [frame, at] of marked.frames) frame.addEventListener("click", () => { audio.currentTime = at; });
    return ola.element("div", { class: "player" }, wave, audio);
  },

  waveform(sound, seek) {
    const middle = this.HEIGHT / 2;
    const path = sound.peaks.map((peak, n) => {
      const tall = Math.max(0.4, (peak / 99) * (middle - 1));
      return `M${n + 0.5} ${(middle - tall).toFixed(1)}V${(middle + tall).toFixed(1)}`;
    }).join("");
    const head = ola.element("line", { x1: 0, x2: 0, y1: 0, y2: this.HEIGHT, class: "head" });
    const wave = ola.element("svg", { viewBox: `0 0 ${sound.peaks.length} ${this.HEIGHT}`, preserveAspectRatio: "none",
      class: "wave", role: "img", "aria-label": "waveform" }, ola.element("path", { d: path }), head);
    wave.addEventListener("click", (event) => {
      const box = wave.getBoundingClientRect();
      seek((event.clientX - box.left) / box.width);
    });
    return { wave, head };
  },
};
