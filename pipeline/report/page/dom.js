/* Elements and texts. Everything from videos and models becomes a text node: nothing here parses HTML. */
"use strict";

const ola = {
  svgNames: new Set(["svg", "path", "line", "rect", "title"]),

  /* element("a", {href: "#x", class: "y", onclick: f}, "text", child, …); null children are left out. */
  element(name, attributes = {}, ...children) {
    const made = this.svgNames.has(name)
      ? document.createElementNS("http://www.w3.org/2000/svg", name)
      : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else made.setAttribute(key, value === true ? "" : String(value));
    }
    made.append(...children.flat(9).filter((child) => child !== null && child !== undefined).map((child) =>
      child instanceof Node ? child : document.createTextNode(String(child))));
    return made;
  },

  /* Text of a video or a model: its direction is its own, and it cannot turn around what stands beside it. */
  text(value, className = "") {
    return this.element("bdi", { class: `said ${className}`, dir: "auto" }, value);
  },

  number(value, digits = 0) {
    return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  },

  score(value) {
    if (typeof value !== "number") return String(value);
    return Number.isInteger(value) ? this.number(value) : String(Number(value.toPrecision(4)));
  },

  clock(seconds) {
    const minutes = Math.floor(seconds / 60), rest = (seconds - 60 * minutes).toFixed(1).padStart(4, "0");
    return `${minutes}:${rest}`;
  },

  /* Rows of cells as a table; the first cell of a row is its heading. */
  table(heads, rows, className = "") {
    const head = heads.length ? this.element("thead", {}, this.element("tr", {}, heads.map((text) =>
      this.element("th", { scope: "col" }, text)))) : null;
    const body = rows.map(([first, ...cells]) => this.element("tr", {},
      this.element("th", { scope: "row" }, first),
      cells.map((cell) => this.element("td", {}, cell))));
    return this.element("div", { class: "scroll", tabindex: "0" },
      this.element("table", { class: className }, head, this.element("tbody", {}, body)));
  },

  /* What the browser keeps for this page; in memory only where it keeps nothing. */
  stored: {
    memory: {},
    get(key) {
      try { return localStorage.getItem(key) ?? this.memory[key] ?? null; } catch { return this.memory[key] ?? null; }
    },
    set(key, value) {
      this.memory[key] = value;
      try { localStorage.setItem(key, value); return true; } catch { return false; }
    },
  },
};
