/* One card: all that the steps say of a clip, or of a video that gave none. */
"use strict";

ola.cards = (() => {
  const views = [["both", "frames and sound"], ["video", "frames"], ["audio", "sound"], ["text", "neither"]];
  const threshold = window.olaReport.agreement;

  function make(card) {
    const marked = { words: [], frames: [] };
    const strip = frames(card, marked), said = transcript(card, marked);
    const player = card.sound ? ola.player.make(card.sound, marked) : null;
    const box = ola.element("article", { class: "card", "data-id": card.id, "data-sees": "yes", "data-hears": "yes" },
      head(card), card.note ? ola.element("p", { class: "quiet note-line" }, card.note) : null,
      card.clip ? switches(() => box, player !== null) : null,
      ola.element("div", { class: "picture" }, strip), ola.element("div", { class: "sound" }, player, said),
      captions(card), questions(card), details(card));
    showView(box);
    return box;
  }

  function head(card) {
    const ended = card.ended[0] === "packed" ? "packed" : `${card.ended[0]}: ${card.ended[1]}`;
    const span = card.span ? `${ola.clock(card.span[0] / 1000)} to ${ola.clock(card.span[1] / 1000)}` : null;
    return ola.element("div", { class: "card-head" },
      ola.element("h3", {}, ola.text(card.title)),
      ola.element("p", { class: "facts" }, [span, card.split, card.language].filter(Boolean).map((fact) =>
        ola.element("span", {}, fact)), ola.element("span", { class: `badge ${card.ended[0] === "packed" ? "ok" : card.ended[1]}` }, ended),
        ola.element("a", { href: `#${card.id}`, class: "permalink" }, card.id)),
      reasons(card).map((reason) => ola.element("p", { class: "why" }, ola.text(reason))),
      ola.reviews.controls(card.id, { clip: card.clip ? card.id : "" }, "the card"));
  }

  function reasons(card) {
    return card.steps.filter(([, status]) => status !== "ok").map(([step, status, reason]) => `${step} ${status}: ${reason ?? ""}`);
  }

  /* Picture and sound, switched off one by one: what is left is one of the four views. */
  function switches(box, sounds) {
    const one = (name, text) => ola.element("label", { class: "switch" }, ola.element("input", { type: "checkbox",
      checked: true, "data-switch": name, onchange: (event) => {
        box().dataset[name] = event.target.checked ? "yes" : "no";
        if (name === "hears" && !event.target.checked) box().querySelector("audio")?.pause();
        showView(box());
      } }), text);
    return ola.element("p", { class: "switches" }, one("sees", "picture"), sounds ? one("hears", "sound") : null,
      ola.element("span", { class: "quiet view-name" }));
  }

  function showView(box) {
    const sees = box.dataset.sees === "yes", hears = box.dataset.hears === "yes";
    const view = sees ? (hears ? "both" : "video") : hears ? "audio" : "text";
    box.dataset.view = view;
    const name = box.querySelector(".view-name");
    if (name) name.textContent = `as the model saw it: ${views.find(([each]) => each === view)[1]}`;
    for (const row of box.querySelectorAll("tr[data-view]")) row.classList.toggle("now", row.dataset.view === view);
  }

  function frames(card, marked) {
    return ola.element("div", { class: "strip" }, (card.frames ?? []).map(([src, ms]) => {
      const frame = ola.element("figure", { class: "frame" },
        ola.element("img", { src, loading: "lazy", alt: `frame at ${ola.clock(ms / 1000)}`, width: card.size[0], height: card.size[1] }),
        ola.element("figcaption", {}, ola.clock(ms / 1000)));
      marked.frames.push([frame, ms / 1000]);
      return frame;
    }));
  }

  function transcript(card, marked) {
    if (!card.transcript) return card.clip ? ola.element("p", { class: "quiet" }, "no transcript") : null;
    return ola.element("div", { class: "transcript" }, card.transcript.segments.map((segment) => {
      const words = segment.words.length ? segment.words.flatMap(([text, start, end]) => {
        const word = ola.element("span", { class: "word", "data-start": start, "data-end": end }, text);
        marked.words.push([word, start, end]);
        return [word, " "];
      }) : [segment.text];
      const flags = segment.flags.length ? ola.element("span", { class: "flags" }, segment.flags.join(", ")) : null;
      return ola.element("p", { dir: "auto" }, ola.element("span", { class: "at" }, ola.clock(segment.start)), " ",
        segment.speaker ? ola.text(`${segment.speaker}: `, "speaker") : null,
        ola.element("bdi", { class: "said" }, words), flags);
    }));
  }

  function captions(card) {
    if (!card.captions.length) return null;
    return ola.element("div", { class: "captions" }, ola.element("h4", {}, "Captions"),
      ola.table([], card.captions.map(([view, text]) => [view, ola.text(text)]), "texts"));
  }

  function questions(card) {
    if (!card.questions.length) return null;
    return ola.element("div", { class: "questions" }, ola.element("h4", {}, "Questions"),
      card.questions.map((question) => one(card, question)));
  }

  function one(card, question) {
    const fate = question.tasks.map(({ kind, reason }) => ola.element("span", { class: `badge ${reason ? "dropped" : "ok"}` },
      reason ? `${kind}: left out, ${reason}` : `packed as ${kind}`));
    const options = question.options.length ? ola.element("ol", { class: "options", type: "A" }, question.options.map((option) =>
      ola.element("li", {}, ola.text(option)))) : null;
    return ola.element("div", { class: "question", "data-id": question.id },
      ola.element("p", { class: "asked" }, ola.element("b", {}, ola.text(question.question)), " ",
        ola.element("span", { class: "quiet" }, question.kind)), options,
      ola.element("p", {}, ola.element("span", { class: "quiet" }, "reference "), ola.text(question.answer, "reference")),
      question.views ? answers(question) : ola.element("p", { class: "quiet" }, "not verified"),
      ola.element("p", { class: "facts" }, question.needs ? ola.element("span", { class: `key needs-${question.needs}` },
        `needs ${question.needs}`) : null, fate),
      ola.reviews.controls(question.id, { clip: card.id, question: question.id }, "the question"));
  }

  function answers(question) {
    const made = ola.table(["view", "answer", "agreement"], views.map(([view, name]) => {
      const { answer, agreement } = question.views[view];
      const agrees = agreement >= threshold;
      return [name, ola.text(answer), ola.element("span", { class: agrees ? "agrees" : "differs" },
        `${agrees ? "✓" : "✗"} ${agreement.toFixed(2)}`)];
    }), "answers");
    [...made.querySelectorAll("tbody tr")].forEach((row, n) => { row.dataset.view = views[n][0]; });
    return made;
  }

  function details(card) {
    const tasks = card.tasks.map(({ stage, kind, number, reason }) => [`${stage}: ${kind}${number ? ` ${number}` : ""}`,
      reason ? `left out: ${reason}` : "packed"]);
    const steps = card.steps.map(([step, status, reason, detail, seconds]) => [step, status, ola.text(reason ?? ""),
      ola.text(detail ?? ""), seconds === null ? "" : `${seconds.toFixed(2)} s`]);
    const block = (name, made) => ola.element("div", {}, ola.element("h4", {}, name), made);
    const meta = Object.entries(card.meta).map(([key, value]) => [ola.text(key), ola.text(typeof value === "string" ? value : JSON.stringify(value))]);
    return ola.element("div", { class: "details" },
      tasks.length ? block("Tasks", ola.table([], tasks)) : null,
      block("Steps", ola.table([], steps, "texts")),
      card.scores.length ? block("Scores", ola.table([], card.scores.map(([name, value]) =>
        [name, typeof value === "string" ? ola.text(value) : ola.score(value)]), "numbers")) : null,
      block("Source", ola.table([], [["uri", ola.text(card.uri)], ...meta], "texts")));
  }

  return { make };
})();
