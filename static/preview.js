// Shows the builder's result while one types. The server makes it, so that there is one way of tagging.
const WAIT_MS = 150;
const SENT_APART = ["csrf_token"];

const form = document.querySelector("form[data-preview]");
const target = document.querySelector("#preview");
let timer = 0;
let running = new AbortController();

async function show() {
  running.abort();
  running = new AbortController();
  const query = new URLSearchParams(new FormData(form));
  for (const name of SENT_APART) query.delete(name);
  try {
    const answer = await fetch(`${form.dataset.preview}?${query}`, { signal: running.signal });
    // A redirect is the sign-in page: leave what is shown.
    if (!answer.ok || answer.redirected) return;
    const html = await answer.text();
    if (target.innerHTML !== html) target.innerHTML = html;
  } catch {
    // Aborted by the next keystroke, or the network is away: the form works all the same.
  }
}

form.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(show, WAIT_MS);
});
// A browser that comes back to this page fills in what was typed without an event.
if (form.elements.destination.value) show();
