"use strict";
const content = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const GIVEN = ["right", "without_sound", "without_picture"];
const store = `ola audit ${content.audit}`;
let number = 0;
let started = null;
let answers = {};
let turned = {};

try { // a browser may keep nothing for pages from disk
  ({ answers, auditor: at("auditor").value } = JSON.parse(localStorage.getItem(store)) ?? { answers: {}, auditor: "" });
} catch { answers = {}; }

function keep() {
  try {
    localStorage.setItem(store, JSON.stringify({ answers, auditor: at("auditor").value }));
  } catch { /* the answers are in the page until it is closed */ }
}

function question() { return content.questions[number]; }

function stop() {
  at("audio").pause();
  started = null;
  at("play").textContent = "Play";
}

function turn(what, on) {
  turned[what] = on;
  at(what).setAttribute("aria-pressed", String(on));
  at("frame").className = turned.picture ? "shown" : "";
  at("audio").muted = !turned.sound;
}

function show() {
  stop();
  const { text, options, frames, sound, question: id } = question();
  at("text").textContent = text;
  at("options").replaceChildren(...options.map((option) => {
    const line = document.createElement("li");
    line.textContent = option;
    return line;
  }));
  at("answer").textContent = "";
  at("frame").src = frames[0] ?? "";
  at("sound").disabled = !sound;
  if (sound) { at("audio").src = sound; } else { at("audio").removeAttribute("src"); }
  turn("picture", false);
  turn("sound", false);
  for (const name of GIVEN) {
    for (const input of document.getElementsByName(name)) { input.checked = answers[id]?.[name] === input.value; }
  }
  const done = content.questions.filter((each) => isDone(each.question)).length;
  at("progress").textContent = `${number + 1} of ${content.questions.length}, ${done} answered`;
}

function isDone(id) { return GIVEN.every((name) => answers[id]?.[name]); }

function play() {
  if (started !== null) { stop(); return; }
  at("play").textContent = "Stop";
  at("audio").currentTime = 0;
  if (question().sound) { at("audio").play().catch(() => {}); }
  started = performance.now();
  requestAnimationFrame(draw);
}

function draw(now) {
  if (started === null) { return; }
  const { ms, frames } = question();
  const past = now - started;
  const index = ms.filter((time) => time <= past).length - 1;
  const wanted = frames[Math.max(0, index)];
  if (at("frame").getAttribute("src") !== wanted) { at("frame").src = wanted; }
  const step = ms.length > 1 ? ms[ms.length - 1] - ms[ms.length - 2] : 1000;
  if (past > ms[ms.length - 1] + step && (at("audio").ended || at("audio").paused || !question().sound)) { stop(); return; }
  requestAnimationFrame(draw);
}

function move(step) {
  number = Math.min(content.questions.length - 1, Math.max(0, number + step));
  show();
}

function lines() {
  const auditor = at("auditor").value.trim();
  return content.questions.filter((each) => isDone(each.question)).map(({ question: id }) => {
    const given = Object.fromEntries(GIVEN.map((name) => [name, answers[id][name] === "yes"]));
    return `${JSON.stringify({ audit: content.audit, auditor, question: id, ...given })}\n`;
  }).join("");
}

function save() {
  if (!at("auditor").value.trim()) { at("auditor").focus(); return; }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines()], { type: "application/jsonl" }));
  link.download = `${content.audit}-${at("auditor").value.trim().replace(/\W+/g, "_")}.jsonl`;
  link.click();
  URL.revokeObjectURL(link.href);
}

for (const what of ["picture", "sound"]) { at(what).addEventListener("click", () => turn(what, !turned[what])); }
for (const name of GIVEN) {
  for (const input of document.getElementsByName(name)) {
    input.addEventListener("change", () => {
      (answers[question().question] ??= {})[name] = input.value;
      keep();
    });
  }
}
at("play").addEventListener("click", play);
at("reveal").addEventListener("click", () => { at("answer").textContent = question().answer; });
at("back").addEventListener("click", () => move(-1));
at("next").addEventListener("click", () => move(1));
at("save").addEventListener("click", save);
at("auditor").addEventListener("change", keep);
show();
