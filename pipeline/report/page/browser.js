/* The list of cards with filters, the chosen card, its link, and the keys. */
"use strict";

(() => {
  const cards = window.olaReport.cards;
  const unique = (values) => [...new Set(values.filter((value) => value !== null && value !== undefined && value !== ""))];
  const lost = (card) => card.steps.filter(([, status]) => status !== "ok");

  /* Values of a card by filter; a filter keeps the cards that have the chosen value. */
  const filters = {
    step: (card) => [...lost(card).map(([step]) => step), ...(card.ended[0] === "packed" ? ["packed"] : [])],
    reason: (card) => [...lost(card).map(([, , reason]) => reason), ...card.tasks.map(({ reason }) => reason)],
    kind: (card) => card.tasks.map(({ kind }) => kind),
    needs: (card) => card.questions.map(({ needs }) => needs),
    language: (card) => [card.language],
    split: (card) => [card.split],
    mark: (card) => [ola.reviews.of(card.id), ...card.questions.map(({ id }) => ola.reviews.of(id))],
  };
  const chosen = Object.fromEntries(Object.keys(filters).map((name) => [name, ""]));
  let text = "", shown = cards, current = null;

  const list = ola.element("ul", { class: "list", id: "list", role: "listbox", "aria-label": "cards", tabindex: "0" });
  const place = ola.element("div", { id: "card" });
  const count = ola.element("p", { class: "quiet", id: "count", "aria-live": "polite" });
  const find = ola.element("input", { type: "search", id: "find", placeholder: "find in titles and texts",
    "aria-label": "find in titles and texts", oninput: () => { text = find.value.toLowerCase(); refresh(); } });
  const selects = Object.entries(filters).map(([name, values]) => {
    const counts = new Map();
    for (const card of cards) for (const value of unique(values(card))) counts.set(value, (counts.get(value) ?? 0) + 1);
    const names = name === "mark" ? ola.reviews.marks : [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a) || (a < b ? -1 : 1));
    const options = names.map((value) => ola.element("option", { value },
      `${value.length > 60 ? `${value.slice(0, 60)}…` : value}${name === "mark" ? "" : ` (${counts.get(value)})`}`));
    const select = ola.element("select", { "data-filter": name, "aria-label": name,
      onchange: () => { chosen[name] = select.value; refresh(); } },
    ola.element("option", { value: "" }, `${name}: any`), options);
    select.disabled = !names.length;
    return select;
  });
  const clear = ola.element("button", { type: "button", id: "clear", onclick: () => { clearFilters(); refresh(); } }, "clear");

  const haystacks = new Map(cards.map((card) => [card.id, [card.title, card.id, card.transcript?.text, ...card.captions.map(([, each]) => each),
    ...card.questions.flatMap(({ question, answer }) => [question, answer])].join("\n").toLowerCase()]));

  function clearFilters() {
    for (const name of Object.keys(chosen)) chosen[name] = "";
    for (const select of selects) select.value = "";
    find.value = text = "";
  }

  function refresh() {
    shown = cards.filter((card) => Object.entries(chosen).every(([name, value]) => !value || filters[name](card).includes(value))
      && (!text || haystacks.get(card.id).includes(text)));
    count.textContent = `${shown.length} of ${cards.length} cards`;
    list.replaceChildren(...shown.map(item));
    if (!shown.includes(current) && shown.length) choose(shown[0], false);
    else if (!shown.length) place.replaceChildren(ola.element("p", { class: "quiet" }, "No card has all of these."));
    else mark();
  }

  function item(card) {
    const state = card.ended[0] === "packed" ? "ok" : card.ended[1];
    const line = card.ended[0] === "packed" ? card.transcript?.text ?? card.captions[0]?.[1] ?? "" : `${card.ended[0]}: ${card.ended[2]}`;
    const made = ola.element("li", { role: "option", "data-id": card.id, class: state, "aria-selected": "false",
      onclick: () => choose(card) }, ola.element("span", { class: `dot ${state}`, "aria-hidden": "true" }),
    ola.element("span", { class: "title" }, ola.text(card.title), card.span ? ` ${ola.clock(card.span[0] / 1000)}` : ""),
    ola.element("span", { class: "line" }, ola.text(line.slice(0, 160))),
    ola.element("span", { class: "marked" }, ola.reviews.of(card.id)));
    return made;
  }

  function mark() {
    for (const each of list.children) {
      const here = each.dataset.id === current?.id;
      each.setAttribute("aria-selected", String(here));
      if (here) list.scrollTop += Math.min(0, each.offsetTop - list.scrollTop) || Math.max(0, each.offsetTop + each.offsetHeight - list.scrollTop - list.clientHeight);
    }
  }

  function choose(card, link = true) {
    place.querySelector("audio")?.pause();
    current = card;
    place.replaceChildren(ola.cards.make(card));
    mark();
    if (link) history.replaceState(null, "", `#${card.id}`);
  }

  function move(by) {
    const at = shown.indexOf(current), next = shown[Math.min(shown.length - 1, Math.max(0, at + by))];
    if (next && next !== current) choose(next);
  }

  function play() {
    const audio = place.querySelector("audio");
    if (!audio) return;
    if (audio.paused) audio.play().catch(() => {});
    else audio.pause();
  }

  const keys = { j: () => move(1), k: () => move(-1), " ": play, n: () => {
    const note = place.querySelector(".card-head .note");
    note?.focus();
  } };
  ola.reviews.marks.forEach((name, n) => { keys[n + 1] = () => place.querySelector(`.card-head [data-mark=${name}]`)?.click(); });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]):not([type=range]), select, textarea, audio");
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    if (event.key === " " && event.target.closest("button, a, summary")) return;
    event.preventDefault();
    keys[event.key]();
  });

  function follow() {
    const id = decodeURIComponent(location.hash.slice(1)), card = cards.find((each) => each.id === id || each.questions.some((q) => q.id === id));
    if (!card) return;
    if (!shown.includes(card)) { clearFilters(); refresh(); }
    choose(card, false);
    document.getElementById("clips").scrollIntoView();
  }

  ola.reviews.onchange((id) => {
    const row = [...list.children].find((each) => each.dataset.id === id);
    if (row) row.querySelector(".marked").textContent = ola.reviews.of(id);
  });
  document.getElementById("browser").append(ola.element("div", { class: "filters" }, find, selects, clear), count,
    ola.element("div", { class: "panes" }, list, place));
  refresh();
  addEventListener("hashchange", follow);
  follow();
})();
