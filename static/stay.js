// A link that opens another part of this same page leaves the window and the keyboard where they are.
const PLACE = "tracker.place";

addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-stay]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const place = { path: location.pathname, y: scrollY, part: link.hash.slice(1) };
  try {
    sessionStorage.setItem(PLACE, JSON.stringify(place));
  } catch {
    return; // without a place to keep it, the address leads to the part
  }
  event.preventDefault();
  const to = new URL(link.href);
  to.hash = "";
  location.assign(to);
});

function arrive() {
  const kept = sessionStorage.getItem(PLACE);
  if (!kept) return;
  sessionStorage.removeItem(PLACE);
  const place = JSON.parse(kept);
  if (place.path !== location.pathname) return;
  scrollTo(0, place.y);
  const heading = document.getElementById(place.part)?.querySelector("h2");
  if (!heading) return;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  heading.blur(); // the next Tab goes on from here, and the part is still kept up to date
}

try {
  arrive();
} catch {
  // no storage: the page begins at its top
}
