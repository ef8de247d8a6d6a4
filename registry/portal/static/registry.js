// What pages gain by scripts; without them everything works all the same.
(function () {
  "use strict";

  function settle(root) {
    // Whatever has just been said, or went wrong, gets the focus: it is read out and in sight.
    var found = root.querySelector("[data-focus]");
    if (root.matches && root.matches("[data-focus]")) found = root;
    if (found) found.focus();
    root.querySelectorAll("[data-print]").forEach(function (button) {
      button.addEventListener("click", function () { window.print(); });
    });
  }

  document.addEventListener("DOMContentLoaded", function () { settle(document); });
  document.addEventListener("htmx:load", function (event) {
    if (event.detail.elt !== document.body) settle(event.detail.elt);
  });

  // A double click sends a form once. Coming back to the page opens it again.
  document.addEventListener("submit", function (event) {
    var form = event.target;
    if (!form.hasAttribute("data-once")) return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", function () {
    document.querySelectorAll("form[data-sent]").forEach(function (form) {
      delete form.dataset.sent;
    });
  });

  // A large file shows how much of it has been sent.
  document.addEventListener("htmx:xhr:progress", function (event) {
    var place = event.target.querySelector && event.target.querySelector("[data-sending]");
    if (!place || !event.detail.lengthComputable || !event.detail.total) return;
    place.hidden = false;
    place.querySelector("progress").value = event.detail.loaded / event.detail.total;
  });

  // Nothing came back: say so, where the browser itself would have shown a page.
  ["htmx:sendError", "htmx:timeout"].forEach(function (name) {
    document.addEventListener(name, function () {
      document.getElementById("offline").hidden = false;
    });
  });
  document.addEventListener("htmx:beforeRequest", function () {
    document.getElementById("offline").hidden = true;
  });
})();
