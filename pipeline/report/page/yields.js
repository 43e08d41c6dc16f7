/* The yield of other thresholds, computed from the table of scores. It equals `ola whatif`. */
"use strict";

ola.yields = (() => {
  const table = window.olaReport.yield;

  function numbers(text, Kind) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Kind(bytes.buffer);
  }

  const clips = { ms: numbers(table.clips.ms, Uint32Array), video: numbers(table.clips.video, Uint32Array) };
  const tasks = {
    clip: numbers(table.tasks.clip, Uint32Array), kind: numbers(table.tasks.kind, Uint8Array),
    tokens: numbers(table.tasks.tokens, Uint32Array),
  };
  const asked = {};
  for (const name of ["clip", "tokens", "video_tokens"]) asked[name] = numbers(table.questions[name], Uint32Array);
  for (const name of ["both", "video", "audio", "text", "passes"]) asked[name] = numbers(table.questions[name], Uint8Array);
  const bins = Object.fromEntries(Object.entries(table.bins).map(([name, text]) => [name, numbers(text, Uint8Array)]));
  const kindNumber = Object.fromEntries(table.kinds.map(([kind], number) => [kind, number]));
  const needsNames = ["both", "audio", "video", "text", "none-agrees"];

  /* positions: by score, 0 for no threshold. agreement: index into table.agreements. */
  function compute(positions, agreement) {
    const kept = new Uint8Array(table.count).fill(1), used = new Uint8Array(table.count);
    for (const [name, position] of Object.entries(positions)) {
      if (position > 0) for (let n = 0; n < kept.length; n += 1) if (bins[name][n] < position) kept[n] = 0;
    }
    const found = table.kinds.map(() => [0, 0]);
    const add = (clip, kind, tokens) => { found[kind][0] += 1; found[kind][1] += tokens; used[clip] = 1; };
    countTasks(kept, add);
    const needs = countQuestions(kept, agreement + 1, add);
    const videos = new Set();
    let count = 0, ms = 0;
    for (let n = 0; n < used.length; n += 1) {
      if (used[n]) { count += 1; ms += clips.ms[n]; videos.add(clips.video[n]); }
    }
    return {
      clips: count, hours: ms / 3.6e6, videos: videos.size, kinds: found, needs,
      tasks: found.reduce((sum, [number]) => sum + number, 0), tokens: found.reduce((sum, [, number]) => sum + number, 0),
    };
  }

  function countTasks(kept, add) {
    let clip = -1, kind = -1, taken = 0;
    for (let n = 0; n < tasks.clip.length; n += 1) {
      if (tasks.clip[n] !== clip || tasks.kind[n] !== kind) { clip = tasks.clip[n]; kind = tasks.kind[n]; taken = 0; }
      if (kept[clip] && taken < (table.caps[table.kinds[kind][0]] ?? Infinity)) {
        taken += 1;
        add(clip, kind, tasks.tokens[n]);
      }
    }
  }

  function need(n, position) {
    if (asked.text[n] >= position) return "text";
    if (asked.video[n] >= position) return "video";
    if (asked.audio[n] >= position) return "audio";
    return asked.both[n] >= position ? "both" : "none-agrees";
  }

  function countQuestions(kept, position, add) {
    const needs = Object.fromEntries(needsNames.map((name) => [name, 0]));
    const caps = { cross_modal_qa: table.caps.cross_modal_qa ?? Infinity, video_qa: table.caps.video_qa ?? Infinity };
    let clip = -1, taken = {};
    for (let n = 0; n < asked.clip.length; n += 1) {
      if (asked.clip[n] !== clip) { clip = asked.clip[n]; taken = { cross_modal_qa: 0, video_qa: 0 }; }
      if (!kept[clip]) continue;
      const needed = need(n, position), bit = 1 << table.variants.indexOf(needed);
      needs[needed] += 1;
      const made = [["cross_modal_qa", bit, asked.tokens[n]]];
      if (needed === "video") made.push(["video_qa", table.video_qa, asked.video_tokens[n]]);
      for (const [kind, wanted, tokens] of made) {
        if ((asked.passes[n] & wanted) && taken[kind] < caps[kind]) {
          taken[kind] += 1;
          add(clip, kindNumber[kind], tokens);
        }
      }
    }
    return needs;
  }

  return { table, compute, needsNames };
})();

(() => {
  const { table, compute, needsNames } = ola.yields;
  const place = document.getElementById("yields");
  const present = Math.max(0, table.agreements.indexOf(table.agreement));
  const state = { positions: Object.fromEntries(table.sliders.map((slider) => [slider.name, 0])), agreement: present };
  const outputs = {};
  const scale = table.count ? table.total / table.count : 1;
  const results = ola.element("div", { class: "results", "aria-live": "polite" });
  const code = ola.element("code", { id: "whatif" }), where = ola.element("code", { id: "where" });

  function slider(name, label, most, value, change) {
    const input = ola.element("input", { type: "range", min: 0, max: most, value, step: 1, id: `slider-${name}`,
      "aria-label": label, oninput: () => { change(Number(input.value)); show(); } });
    outputs[name] = ola.element("output", { for: `slider-${name}` });
    return ola.element("label", { class: "slider" }, ola.element("span", {}, label), input, outputs[name]);
  }

  function conditions() {
    return table.sliders.filter(({ name }) => state.positions[name] > 0).map(({ name, comparison, positions }) =>
      `${name} ${comparison} ${positions[state.positions[name] - 1]}`);
  }

  function wholeWhere() {
    const made = conditions();
    if (!made.length) return table.where;
    return [...(table.where.trim().toLowerCase() === "true" ? [] : [`(${table.where})`]), ...made].join(" AND ");
  }

  function quoted(text) {
    return `'${text.replaceAll("'", "'\\''")}'`;
  }

  function row(name, now, other, digits = 0) {
    const difference = other - now, sign = difference > 0 ? "+" : "";
    return [name, ola.number(now * scale, digits), ola.number(other * scale, digits),
      difference ? `${sign}${now ? `${(100 * difference / now).toFixed(1)} %` : ola.number(difference * scale, digits)}` : "="];
  }

  function show() {
    for (const { name, comparison, positions } of table.sliders) {
      const position = state.positions[name];
      outputs[name].textContent = position ? `${comparison} ${positions[position - 1]}` : "any";
    }
    outputs.agreement.textContent = `${table.agreements[state.agreement]}`;
    const now = compute({}, present), other = compute(state.positions, state.agreement);
    const kinds = table.kinds.map(([kind, stage], n) => [`${stage}: ${kind}`, now.kinds[n][0], other.kinds[n][0]])
      .filter(([, before, after]) => before || after);
    results.replaceChildren(ola.table(["", "now", "with these", "change"], [
      row("videos", now.videos, other.videos), row(`clips of ${ola.number(table.total)}`, now.clips, other.clips),
      row("hours", now.hours, other.hours, 2), row("tasks", now.tasks, other.tasks), row("tokens", now.tokens, other.tokens),
      ...kinds.map((line) => row(...line)),
      ...(now.needs && table.questions.clip ? needsNames.map((name) => row(`needs ${name}`, now.needs[name], other.needs[name])) : []),
    ], "numbers"));
    place.dataset.yield = JSON.stringify(other);
    const line = wholeWhere(), agreement = table.agreements[state.agreement];
    const option = agreement === table.agreement ? "" : ` --agreement ${agreement}`;
    code.textContent = `ola whatif ${quoted(window.olaReport.root)} ${quoted(line)}${option}`;
    where.textContent = `pack.where=${line}`;
  }

  const copy = (target) => ola.element("button", { type: "button", onclick: async (event) => {
    try { await navigator.clipboard.writeText(target.textContent); event.target.textContent = "copied"; } catch {
      const range = document.createRange();
      range.selectNodeContents(target);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
    }
  } }, "copy");
  const reset = ola.element("button", { type: "button", id: "reset", onclick: () => {
    for (const name of Object.keys(state.positions)) state.positions[name] = 0;
    state.agreement = present;
    for (const input of place.querySelectorAll("input[type=range]")) input.value = 0;
    place.querySelector("#slider-agreement").value = present;
    show();
  } }, "reset");
  const controls = [
    slider("agreement", "pack.agreement", table.agreements.length - 1, present, (value) => { state.agreement = value; }),
    ...table.sliders.map(({ name, comparison, positions }) => slider(name, `${name} ${comparison === ">=" ? "≥" : "≤"}`, positions.length, 0,
      (value) => { state.positions[name] = value; })),
  ];
  place.append(ola.element("div", { class: "sliders" }, controls, reset), results,
    ola.element("p", { class: "copy" }, where, copy(where)), ola.element("p", { class: "copy" }, code, copy(code)),
    table.count < table.total
      ? ola.element("p", { class: "quiet" }, `Estimated from ${ola.number(table.count)} of ${ola.number(table.total)} clips.`) : "");
  show();
})();
