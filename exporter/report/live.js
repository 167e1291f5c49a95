"use strict";
// Updates of a live page. Without them it asks for itself again from time to time.
(() => {
  const status = document.createElement("span"), pause = document.createElement("button");
  status.id = "live-status";
  pause.type = "button";
  pause.id = "pause";
  let paused = false, waiting = null;
  const tell = text => { status.textContent = text; };
  const controls = () => {
    const line = document.querySelector(".live");
    if (line) line.prepend(status, " ", pause, " ");
  };
  const parse = html => {
    const t = document.createElement("template");
    t.innerHTML = html;
    return t.content.firstElementChild;
  };
  // Where the keyboard is within a part that is replaced.
  const place = part => {
    const at = document.activeElement;
    if (!at || !part.contains(at)) return null;
    const all = Array.from(part.querySelectorAll(at.localName));
    let same = all;
    if (at.localName === "a") same = all.filter(x => x.getAttribute("href") === at.getAttribute("href"));
    return {name: at.localName, href: at.getAttribute("href"), index: same.indexOf(at), from: at.selectionStart, to: at.selectionEnd};
  };
  const back = (part, p) => {
    if (!p) return;
    let all = Array.from(part.querySelectorAll(p.name));
    if (p.name === "a") all = all.filter(x => x.getAttribute("href") === p.href);
    const at = all[p.index];
    if (!at) return;
    at.focus({preventScroll: true});
    if (typeof p.from === "number" && at.setSelectionRange) at.setSelectionRange(p.from, p.to);
  };
  const replace = (old, part) => {
    const p = place(old);
    // What is typed into a form, and what is open or scrolled, stays.
    const typed = Array.from(old.querySelectorAll("form input, form select"), x => x.value);
    const opened = Array.from(old.querySelectorAll("details"), x => x.open);
    const scrolled = Array.from(old.querySelectorAll(".scroll"), x => x.scrollLeft);
    old.replaceWith(part);
    if (part.id === "head") controls();
    part.querySelectorAll("form input, form select").forEach((x, i) => { if (i < typed.length) x.value = typed[i]; });
    part.querySelectorAll("details").forEach((x, i) => { x.open = Boolean(opened[i]); });
    part.dispatchEvent(new CustomEvent("exspan-replaced", {bubbles: true}));
    part.querySelectorAll(".scroll").forEach((x, i) => { x.scrollLeft = scrolled[i] || 0; });
    back(part, p);
  };
  const apply = update => {
    const main = document.getElementById("main");
    for (const section of Array.from(main.children)) if (!update.order.includes(section.id)) section.remove();
    for (const [id, html] of Object.entries(update.parts)) {
      const part = parse(html), old = document.getElementById(id);
      if (!part || part.id !== id) continue;
      if (old) replace(old, part);
      else {
        main.append(part);
        part.dispatchEvent(new CustomEvent("exspan-replaced", {bubbles: true}));
      }
    }
    const sections = update.order.map(id => document.getElementById(id)).filter(x => x && x.parentNode === main);
    sections.forEach((section, i) => { if (main.children[i] !== section) main.insertBefore(section, main.children[i]); });
    const asOf = document.getElementById("as-of");
    if (asOf) asOf.textContent = "As of " + update.as_of + " UTC.";
    tell("Live.");
  };
  // Nothing is taken from under a reader who marks text.
  const busy = () => { const s = getSelection(); return s && !s.isCollapsed && s.toString() !== ""; };
  const merge = update => {
    if (waiting) update.parts = Object.assign({}, waiting.parts, update.parts);
    waiting = update;
    if (!paused && !busy()) {
      waiting = null;
      apply(update);
    }
  };
  const button = () => { pause.textContent = paused ? "Go on" : "Pause"; };
  pause.addEventListener("click", () => {
    paused = !paused;
    button();
    tell(paused ? "Paused." : "Live.");
    if (!paused && waiting) { const w = waiting; waiting = null; apply(w); }
  });
  button();
  controls();
  tell("Connecting.");
  const events = new EventSource(document.body.dataset.events);
  events.addEventListener("update", event => merge(JSON.parse(event.data)));
  events.addEventListener("ready", () => { if (!paused) tell("Live."); });
  events.addEventListener("end", () => { events.close(); tell("The monitor has ended."); });
  events.onerror = () => tell(events.readyState === EventSource.CLOSED ? "No longer live; reload the page." : "The connection is lost; trying again.");
})();
