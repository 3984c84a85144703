/* The page is whole without this: it only adds the light / dark button, and unfolds for print. */
(function () {
  "use strict";
  var root = document.documentElement;
  var key = "sensorium-theme";
  // Storage may be refused for pages opened from a file; then the choice lasts as long as the page.
  function stored(value) {
    try {
      if (value === undefined) return localStorage.getItem(key);
      localStorage.setItem(key, value);
    } catch (refused) { /* nothing to keep */ }
    return null;
  }
  var chosen = stored();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;

  function dark() {
    if (root.dataset.theme) return root.dataset.theme === "dark";
    return matchMedia("(prefers-color-scheme: dark)").matches;
  }
  document.addEventListener("DOMContentLoaded", function () {
    var button = document.getElementById("theme");
    button.hidden = false;
    function tell() { button.setAttribute("aria-pressed", String(dark())); }
    button.addEventListener("click", function () {
      root.dataset.theme = dark() ? "light" : "dark";
      stored(root.dataset.theme);
      tell();
    });
    tell();

    var unfolded = [];
    window.addEventListener("beforeprint", function () {
      unfolded = Array.prototype.slice.call(document.querySelectorAll("details:not([open])"));
      unfolded.forEach(function (one) { one.open = true; });
    });
    window.addEventListener("afterprint", function () {
      unfolded.forEach(function (one) { one.open = false; });
    });
  });
})();
