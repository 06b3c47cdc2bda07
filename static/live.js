// Keeps the figures up to date: asks for this same page and exchanges the parts that changed.
const EVERY_MS = 1000;
const SLOWER_MAX_MS = 30000;
// A page that took the server long to make is asked for less often: an open one has a tenth of its time at most.
const REST = 10;

let wait = EVERY_MS;
let timer = 0;
let tag = "";
let last = new Map();

for (const part of document.querySelectorAll("[data-live]")) last.set(part.id, part.outerHTML);

// Somebody who is reading, pointing or selecting in a part keeps it as it is.
function inUse(part) {
  const selection = getSelection();
  const selected = selection && !selection.isCollapsed && selection.containsNode(part, true);
  return selected || part.contains(document.activeElement) || part.querySelector("[data-chart]:hover") !== null;
}

function exchange(part, fresh) {
  const open = new Set([...part.querySelectorAll("details[open]")].map((details) => details.id));
  const scrolled = [...part.querySelectorAll(".scroll")].map((region) => region.scrollLeft);
  for (const details of fresh.querySelectorAll("details")) if (open.has(details.id)) details.open = true;
  part.replaceWith(fresh);
  fresh.querySelectorAll(".scroll").forEach((region, index) => { region.scrollLeft = scrolled[index] || 0; });
}

// Whether all that changed is shown now.
function update(page) {
  let all = true;
  for (const fresh of page.querySelectorAll("[data-live]")) {
    const part = document.getElementById(fresh.id);
    const html = fresh.outerHTML;
    if (!part || last.get(fresh.id) === html) continue;
    if (inUse(part)) {
      all = false;
      continue;
    }
    last.set(fresh.id, html);
    exchange(part, document.adoptNode(fresh));
  }
  return all;
}

function say(text) {
  const freshness = document.querySelector("#freshness");
  if (!freshness) return;
  freshness.classList.add("late");
  freshness.lastElementChild.textContent = text;
  last.delete("freshness");
  tag = "";
}

async function ask() {
  try {
    const known = tag ? { "If-None-Match": tag } : {};
    const answer = await fetch(location.href, { headers: { Accept: "text/html", ...known } });
    if (answer.redirected) return say("signed out: reload to sign in");
    if (!answer.ok && answer.status !== 304) throw new Error(String(answer.status));
    const [, took] = /dur=([\d.]+)/.exec(answer.headers.get("Server-Timing")) || [0, 0];
    wait = Math.min(Math.max(EVERY_MS, REST * took), SLOWER_MAX_MS);
    // The answer to a tag that is still the page's has no body.
    if (answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      tag = (update(page) && answer.headers.get("ETag")) || "";
    }
  } catch {
    wait = Math.min(wait * 2, SLOWER_MAX_MS);
    say("no answer from the server; trying again");
  }
  plan();
}

function plan() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(ask, wait);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden) ask();
});
plan();
