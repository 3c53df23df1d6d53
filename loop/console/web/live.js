// A page is whole without this. With it, it asks for its parts anew when the console says that
// something changed. What somebody types in, and where the focus is, stays.

const main = document.getElementById("main");
const word = () => document.getElementById("live");
const LEAST_MS = 1000; // between two fetches, however much changes

let waiting = false, wanted = false;

function say(text) {
  const shown = word();
  if (!shown || shown.textContent === text) return;
  shown.hidden = false;
  shown.textContent = text;
}

function place(fresh) {
  for (const part of document.querySelectorAll("[data-part]")) {
    const next = fresh.getElementById(part.id);
    if (!next || part.innerHTML === next.innerHTML) continue;
    const held = part.contains(document.activeElement) ? document.activeElement : null;
    const path = held?.getAttribute("href");
    part.replaceWith(document.importNode(next, true));
    if (path) document.querySelector(`#${part.id} [href="${CSS.escape(path)}"]`)?.focus();
  }
}

async function renew() {
  if (waiting || document.hidden) { wanted = true; return; }
  waiting = true; wanted = false;
  try {
    const response = await fetch(location.href, { headers: { "HX-Request": "true" } });
    if (response.redirected) return location.assign(response.url);
    if (response.ok) place(new DOMParser().parseFromString(await response.text(), "text/html"));
  } catch {
    say("not connected");
  } finally {
    setTimeout(() => { waiting = false; if (wanted) renew(); }, LEAST_MS);
  }
}

const source = new EventSource(main.dataset.live);
source.addEventListener("live", () => say("live"));
source.addEventListener("changed", renew);
source.addEventListener("ended", () => { source.close(); location.assign("/login"); });
source.addEventListener("error", () => say("not connected"));
document.addEventListener("visibilitychange", () => { if (!document.hidden && wanted) renew(); });
addEventListener("pagehide", () => source.close());
