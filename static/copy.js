// Buttons that copy: hidden until this script is there to do it.
const FEEDBACK_MS = 2000;

async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  // Plain http has no clipboard interface; a selection can still be copied.
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("refused");
}

const said = document.createElement("p");
said.className = "unseen";
said.setAttribute("role", "status");
document.body.append(said);

for (const button of document.querySelectorAll("button[data-copy]")) {
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.querySelector(button.dataset.copy);
    try {
      await copy(source.textContent.trim());
      button.textContent = said.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = said.textContent = "Press Ctrl+C";
    }
    button.focus();
    setTimeout(() => { button.textContent = label; said.textContent = ""; }, FEEDBACK_MS);
  });
}
