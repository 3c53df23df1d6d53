// Review works without this. With it a form is sent and the answer put in its place without a new
// page (by attributes that are named and meant as htmx's), and single keys do what buttons say.

const KEYS_OFF = "review-keys-off"; // single keys must be able to be turned off: WCAG 2.1.4
let live; // the request for a part that is still typed at

function seen() {
  for (const part of document.querySelectorAll("[data-script]")) part.hidden = false;
  for (const part of document.querySelectorAll("[data-no-script]")) part.hidden = true;
  const box = document.getElementById("single-keys");
  if (box) box.checked = !localStorage.getItem(KEYS_OFF);
}

async function swap(path, target, body, signal) {
  const headers = { "HX-Request": "true" };
  const response = await fetch(path, { method: "POST", body, headers, signal });
  if (!new URL(response.url).pathname.startsWith("/review")) return location.assign(response.url);
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const part = fresh.querySelector(target);
  if (signal.aborted || !part) return;
  document.querySelector(target).replaceWith(part);
  if (target !== "#main") return;
  document.title = fresh.title;
  history.replaceState(null, "", response.url);
  scrollTo(0, 0);
  seen();
  part.focus({ preventScroll: true });
  part.querySelector("[aria-invalid]")?.focus();
}

function filled(form, button) {
  return new URLSearchParams(new FormData(form, button));
}

function tell(form, words) {
  const said = document.createElement("p");
  said.className = "error";
  said.role = "alert";
  said.textContent = words;
  form.prepend(said);
}

document.addEventListener("submit", async (event) => {
  const form = event.target, button = event.submitter;
  if (!form.matches("[hx-post]")) return;
  event.preventDefault();
  if (form.ariaBusy === "true") return; // a second press is no second decision
  form.ariaBusy = "true";
  live?.abort();
  live = new AbortController();
  const path = button?.getAttribute("formaction") ?? form.getAttribute("hx-post");
  try {
    await swap(path, form.getAttribute("hx-target"), filled(form, button), live.signal);
  } catch {
    tell(form, "The console does not answer: try again.");
  } finally {
    form.ariaBusy = "false";
  }
});

let waiting;
document.addEventListener("input", (event) => {
  const field = event.target;
  if (!field.matches("[hx-trigger]")) return;
  const delay = Number(/delay:(\d+)ms/.exec(field.getAttribute("hx-trigger"))[1]);
  clearTimeout(waiting);
  live?.abort();
  const { signal } = live = new AbortController();
  waiting = setTimeout(() => {
    const path = field.getAttribute("hx-post");
    if (!signal.aborted) swap(path, field.getAttribute("hx-target"), filled(field.form), signal).catch(() => {});
  }, delay);
});

// Correct: what is not edited yet is opened first, what is edited is sent.
document.addEventListener("click", (event) => {
  const button = event.target.closest('button[value="correct"]');
  const edited = button && document.querySelector(".correction");
  const text = edited?.querySelector("textarea");
  if (!text || text.value !== text.defaultValue || "changed" in edited.dataset) return;
  event.preventDefault();
  edited.open = true;
  text.focus();
});

document.addEventListener("change", (event) => {
  if (event.target.id !== "single-keys") return;
  if (event.target.checked) localStorage.removeItem(KEYS_OFF);
  else localStorage.setItem(KEYS_OFF, "1");
});

function mark(value) {
  const rows = [...document.querySelectorAll(".marks")];
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const unmarked = rows.findIndex((row) => !row.querySelector(":checked"));
  const row = at >= 0 ? at : Math.max(unmarked, 0);
  const radio = rows[row]?.querySelector(`input[value="${value}"]`);
  if (!radio) return;
  radio.checked = true;
  const next = rows[row + 1];
  (next ? (next.querySelector(":checked") ?? next.querySelector("input")) : radio).focus();
}

document.addEventListener("keydown", (event) => {
  const at = event.target, typing = at.matches("textarea");
  if (typing && event.key === "Escape") document.getElementById("main").focus();
  if (typing && event.key === "Enter" && (event.ctrlKey || event.metaKey) && at.id === "text")
    at.form.querySelector('button[value="correct"]').click();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = event.key.toLowerCase();
  if (key !== "?" && localStorage.getItem(KEYS_OFF)) return;
  if (/^[1-5]$/.test(key)) mark(key);
  else if (/^[a-z?]$/.test(key)) document.querySelector(`[data-key="${key}"]`)?.click();
  else return;
  event.preventDefault();
});

seen();
