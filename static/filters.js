// Fills in what may be typed into the filters: the page knows the values of its open tables only.
const form = document.querySelector("details[data-all]");

async function suggest() {
  try {
    const answer = await fetch(form.dataset.all, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const list of form.querySelectorAll("datalist")) {
      const whole = page.getElementById(list.id);
      if (whole) list.replaceChildren(...whole.children);
    }
  } catch {
    // Whoever knows the value can type it all the same.
  }
}

form?.addEventListener("toggle", suggest, { once: true });
