"use strict";
// The page can be read without this: it opens what a link leads to, copies commands, filters claims.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const status = document.getElementById("filtered");

  const show = () => {
    let target = null;
    try {
      target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    } catch {
      // A fragment that is not percent-encoded leads nowhere.
    }
    if (!target) return;
    for (let at = target; at; at = at.parentElement) {
      if (at.localName === "details") at.open = true;
      at.hidden = false;
    }
    (target.closest("details") ?? target).scrollIntoView();
  };
  addEventListener("hashchange", show);
  show();

  // navigator.clipboard is missing or refuses where the file was not opened from a secure place.
  const copied = async (code) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      return true;
    } catch {
      getSelection().selectAllChildren(code);
      return document.execCommand("copy");
    }
  };
  for (const place of all(".command")) {
    const code = place.firstElementChild;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy the command ${code.textContent}`);
    button.addEventListener("click", async () => {
      const done = await copied(code);
      button.textContent = done ? "Copied" : "Selected";
      document.getElementById("copied").textContent = done ? "The command was copied." : "The command is selected: copy it by key.";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    place.append(button);
  }

  const claims = all("details.claim, .claims > .above");
  const wanted = document.getElementById("wanted");
  const filter = () => {
    const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const claim of claims) {
      const text = claim.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word));
      (claim.closest("li") ?? claim).hidden = !fits;
      if (fits && claim.localName === "details") shown += 1;
    }
    const total = claims.filter((claim) => claim.localName === "details").length;
    status.textContent = words.length ? `${shown} of ${total} claims` : "";
  };
  wanted.addEventListener("input", filter);
  const form = document.getElementById("filter");
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const [id, open] of [["open-all", true], ["close-all", false]]) {
    document.getElementById(id).addEventListener("click", () => {
      for (const details of all("details")) details.open = open;
    });
  }

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
  });
})();
