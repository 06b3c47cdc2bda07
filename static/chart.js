// Says the figures of the column under the pointer, or under a finger.
document.addEventListener("pointerover", (event) => {
  const chart = event.target.closest?.("[data-chart]");
  if (!chart) return;
  const title = event.target.closest("g")?.querySelector("title");
  const readout = chart.querySelector(".readout");
  if (title && readout) readout.textContent = title.textContent;
});
document.addEventListener("pointerout", (event) => {
  const chart = event.target.closest?.("[data-chart]");
  if (chart && !chart.contains(event.relatedTarget)) chart.querySelector(".readout").textContent = "";
});
