// Long work goes on slice by slice without a hand: whoever wants to stop it leaves the page.
const PAUSE_MS = 50;
const form = document.querySelector("form[data-go-on]");
if (form) setTimeout(() => form.requestSubmit(), PAUSE_MS);
