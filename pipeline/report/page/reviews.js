/* Marks of people: good, bad or wrong, with a note; kept by the browser, exported as JSONL for `ola review`. */
"use strict";

ola.reviews = (() => {
  const key = `ola-report-reviews-${window.olaReport.key}`, marks = ["good", "bad", "wrong"];
  let rows = {}, kept = true;
  try { rows = JSON.parse(ola.stored.get(key) ?? "{}"); } catch { rows = {}; }
  const listeners = [];

  function set(id, change) {
    const row = { clip: "", question: "", mark: "", note: "", ...rows[id], ...change, id, marked_at: new Date().toISOString() };
    if (row.mark) rows[id] = row;
    else delete rows[id];
    kept = ola.stored.set(key, JSON.stringify(rows));
    for (const listener of listeners) listener(id);
  }

  /* Buttons and a note for one id; `facts` names its clip and question. */
  function controls(id, facts, label) {
    const buttons = marks.map((mark) => ola.element("button", { type: "button", class: `mark ${mark}`, "data-mark": mark,
      "aria-pressed": "false", onclick: () => set(id, { ...facts, mark: rows[id]?.mark === mark ? "" : mark }) }, mark));
    const note = ola.element("input", { type: "text", class: "note", placeholder: "note", "aria-label": `note on ${label}`,
      value: rows[id]?.note ?? "", oninput: () => { if (rows[id]) set(id, { note: note.value }); } });
    const box = ola.element("div", { class: "review", "data-id": id, role: "group", "aria-label": `review of ${label}` },
      buttons, note);
    const show = () => {
      for (const button of buttons) button.setAttribute("aria-pressed", String(rows[id]?.mark === button.dataset.mark));
      note.disabled = !rows[id];
    };
    box.addEventListener("marked", show);
    show();
    return box;
  }

  listeners.push((id) => {
    for (const box of document.querySelectorAll(".review")) {
      if (box.dataset.id === id) box.dispatchEvent(new Event("marked"));
    }
  });

  function jsonl(reviewer) {
    return Object.values(rows).sort((one, other) => (one.id < other.id ? -1 : 1))
      .map((row) => `${JSON.stringify({ ...row, reviewer })}\n`).join("");
  }

  return { marks, set, controls, jsonl, of: (id) => rows[id]?.mark ?? "", all: () => rows,
    onchange: (listener) => listeners.push(listener), isKept: () => kept };
})();

(() => {
  const name = ola.element("input", { type: "text", id: "reviewer", "aria-label": "your name", placeholder: "your name",
    value: ola.stored.get("ola-report-reviewer") ?? "", oninput: () => ola.stored.set("ola-report-reviewer", name.value) });
  const count = ola.element("span", { id: "marked" });
  const link = ola.element("button", { type: "button", id: "export", onclick: () => {
    const blob = new Blob([ola.reviews.jsonl(name.value)], { type: "application/jsonl" });
    const anchor = ola.element("a", { href: URL.createObjectURL(blob), download: "reviews.jsonl" });
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
  } }, "export reviews.jsonl");
  const show = () => {
    const rows = Object.values(ola.reviews.all());
    const parts = ola.reviews.marks.map((mark) => `${rows.filter((row) => row.mark === mark).length} ${mark}`);
    count.textContent = `In this browser: ${parts.join(", ")}${ola.reviews.isKept() ? "" : " (it keeps nothing: export before you leave)"}. `;
    link.disabled = rows.length === 0;
  };
  ola.reviews.onchange(show);
  show();
  const command = ola.element("code", {}, `ola review ${window.olaReport.root} reviews.jsonl`);
  document.getElementById("reviews").append(ola.element("p", {}, count, name, link),
    ola.element("p", { class: "quiet" }, "Then: ", command));
})();
