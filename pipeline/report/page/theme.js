/* The theme: that of the system, light or dark. */
"use strict";

(() => {
  const themes = ["system", "light", "dark"], key = "ola-report-theme", button = document.getElementById("theme");
  function show(theme) {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `theme: ${theme}`;
  }
  let now = themes.includes(ola.stored.get(key)) ? ola.stored.get(key) : "system";
  button.addEventListener("click", () => {
    now = themes[(themes.indexOf(now) + 1) % themes.length];
    ola.stored.set(key, now);
    show(now);
  });
  show(now);
})();
