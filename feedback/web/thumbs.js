// <ratchet-thumbs>: people rate, comment on or correct one answer, wherever it is shown.
// In: the answer's receipt. Out: POST /v1/feedback, and `ratchet-feedback` events.
// No dependencies, no innerHTML, no inline style: a strict policy may stand.
// How to embed, style and translate it: docs/how-to/collect-feedback.md

const TIMEOUT_MS = 15_000; // durable takes some milliseconds: later is a fault
const HERE = new URL("../..", import.meta.url).href; // the gateway that served this file

const WORDS = {
  group: "Rate this answer",
  up: "Good answer",
  down: "Bad answer",
  comment: "Comment",
  correction: "Correct",
  "comment-field": "Your comment",
  "correction-field": "The answer as it should be",
  send: "Send",
  cancel: "Cancel",
  sent: "Thank you, noted.",
  retracted: "Taken back.",
  unreachable: "The service cannot be reached.",
  expired: "This answer can no longer be rated.",
  busy: "The service is busy.",
  refused: "This was not accepted.",
  retry: "Try again",
};

const SHEET = new CSSStyleSheet();
SHEET.replaceSync(`
:host { display: block; font: var(--ratchet-font, .875rem/1.4 system-ui, sans-serif);
  --fill: #1a5fb4; --on-fill: #fff }
@media (prefers-color-scheme: dark) { :host { --fill: #99c1f1; --on-fill: #10151c } }
:host([hidden]), [hidden] { display: none !important }
div { display: flex; flex-wrap: wrap; gap: .375rem; align-items: center }
button, textarea { font: inherit; color: inherit; background: none; box-sizing: border-box;
  border: 1px solid var(--ratchet-border, color-mix(in srgb, currentColor 55%, transparent));
  border-radius: var(--ratchet-radius, .5rem); padding: .125rem .5rem }
button { min-height: 2rem; cursor: pointer }
button:not(:hover, [aria-expanded=true], [part~=retry]) { border-color: transparent }
:focus-visible { outline: 2px solid currentColor; outline-offset: 2px }
[aria-pressed=true], [type=submit] {
  background: var(--ratchet-accent, var(--fill)); color: var(--ratchet-on-accent, var(--on-fill)) }
[aria-pressed=true] svg { fill: currentColor }
svg { width: 1.125rem; vertical-align: -.2em; fill: none; stroke: currentColor; stroke-width: 1.75; stroke-linejoin: round }
[part~=down] svg { transform: rotate(180deg) }
label { display: block; margin: .5rem 0 .25rem }
textarea { width: 100%; min-height: 6em; field-sizing: content; padding: .5rem }
.failed::before { content: "⚠ " / "" }
@media (pointer: coarse) { textarea { font-size: 1rem } button { min-height: 2.75rem; min-width: 2.75rem } }
`);

const THUMB = "M8 11l4-7.5c1.4 0 2.4 1.1 2.4 2.5v4h4.4a1.9 1.9 0 0 1 1.8 2.4l-1.8 6.3"
  + "a1.9 1.9 0 0 1-1.8 1.3H8zM3.5 11H8v9H3.5z";

function make(name, attributes, ...children) {
  const space = /svg|path/.test(name) ? "2000/svg" : "1999/xhtml";
  const node = document.createElementNS(`http://www.w3.org/${space}`, name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  node.append(...children);
  return node;
}

const thumb = () =>
  make("svg", { viewBox: "0 0 24 24", "aria-hidden": true }, make("path", { d: THUMB }));

class RatchetThumbs extends HTMLElement {
  static observedAttributes = ["receipt", ...Object.keys(WORDS).map((key) => `label-${key}`)];

  #parts = null;
  #id = crypto.getRandomValues(new Uint32Array(4)).join("-"); // randomUUID needs TLS
  #count = 0;
  #queue = Promise.resolve(); // one at a time: the last vote must arrive last
  #vote; // as shown
  #counted; // as the service has it
  #sent; // kind → {id, value}, the newest: a repetition is the same feedback
  #drafts;
  #editing; // "comment" or "correction" while its form is open
  #failed; // what a retry sends

  connectedCallback() {
    if (this.#parts) return; // moved
    this.attachShadow({ mode: "open" }).append(...this.#build());
    this.shadowRoot.adoptedStyleSheets = [SHEET];
    this.#begin(this.getAttribute("vote"));
  }

  attributeChangedCallback(name, before, now) {
    if (!this.#parts || before === now) return;
    if (name === "receipt") this.#begin(null); // another answer
    else this.#show();
  }

  #begin(vote) {
    this.#vote = this.#counted = { up: true, down: false }[vote];
    [this.#sent, this.#drafts] = [{}, {}];
    this.#editing = this.#failed = null;
    this.#say("");
    this.#show();
  }

  #build() {
    const button = (part, onclick, ...children) => Object.assign(
      make("button", { type: "button", part: `button ${part}` }, ...children), { onclick });
    const p = this.#parts = {
      up: button("up", (event) => this.#rate(true, event), thumb()),
      down: button("down", (event) => this.#rate(false, event), thumb()),
      comment: button("comment", () => this.#toggle("comment")),
      correction: button("correction", () => this.#toggle("correction")),
      status: make("span", { role: "status", part: "status" }),
      retry: button("retry", () => this.#retry()),
      label: make("label", { for: "field", part: "label" }),
      field: make("textarea", { id: "field", part: "field", maxlength: 20_000 }), // submission.py
      send: make("button", { type: "submit", part: "button send" }),
      cancel: button("cancel", () => this.#toggle(this.#editing)),
    };
    p.group = make("div", { role: "group", part: "group" },
      p.up, p.down, p.comment, p.correction, p.status, p.retry);
    p.form = make("form", { part: "form" }, p.label, p.field, make("div", {}, p.send, p.cancel));
    p.form.onsubmit = (event) => this.#submit(event);
    p.form.onkeydown = (event) => this.#key(event);
    return [p.group, p.form];
  }

  #word = (key) => this.getAttribute(`label-${key}`) ?? WORDS[key];

  #show() {
    const p = this.#parts;
    p.group.ariaLabel = this.#word("group");
    for (const key of ["up", "down"]) {
      p[key].title = p[key].ariaLabel = this.#word(key);
      p[key].ariaPressed = this.#vote === (key === "up");
    }
    for (const key of ["comment", "correction", "send", "cancel", "retry"]) p[key].textContent = this.#word(key);
    for (const key of ["comment", "correction"]) p[key].ariaExpanded = this.#editing === key;
    p.retry.hidden = !this.#failed;
    p.form.hidden = !this.#editing;
    p.label.textContent = this.#editing ? this.#word(`${this.#editing}-field`) : "";
  }

  #say(text, failed = false) {
    this.#parts.status.textContent = text;
    this.#parts.status.classList.toggle("failed", failed);
  }

  get #text() { return this.getAttribute("text") ?? ""; }

  #rate(value, event) {
    if (event.detail > 1) return; // a double click is one vote
    this.#vote = this.#vote === value ? null : value; // pressed again: taken back
    this.#send("thumbs", this.#vote);
  }

  #toggle(kind) {
    const { field } = this.#parts;
    const closing = this.#editing === kind;
    if (this.#editing) this.#drafts[this.#editing] = field.value;
    this.#editing = closing ? null : kind;
    if (!closing) field.value = this.#drafts[kind] ?? (kind === "correction" ? this.#text : "");
    this.#show();
    (closing ? this.#parts[kind] : field).focus();
  }

  #submit(event) {
    event.preventDefault();
    const kind = this.#editing;
    const value = this.#parts.field.value.trim();
    this.#toggle(kind);
    if (value && (kind === "comment" || value !== this.#text.trim())) this.#send(kind, value);
  }

  #key(event) {
    if (event.key === "Escape") {
      event.stopPropagation(); // it closes this form, and nothing of the page around it
      this.#toggle(this.#editing);
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#submit(event);
  }

  #retry() {
    const { kind, value } = this.#failed;
    if (kind === "thumbs") this.#vote = value;
    this.#send(kind, value);
    this.#parts[kind === "thumbs" ? (value === false ? "down" : "up") : kind].focus(); // retry left
  }

  #send(kind, value) {
    if (this.#sent[kind]?.value !== value) this.#sent[kind] = { value, id: `${this.#id}-${++this.#count}` };
    const { id } = this.#sent[kind];
    const said = value === null ? { retract: true } : { value };
    const submission = { receipt: this.getAttribute("receipt"), kind, ...said, id };
    this.#failed = null;
    this.#say("");
    this.#show();
    this.#queue = this.#queue.then(() => this.#deliver(submission));
  }

  async #deliver(submission) {
    const { receipt, kind, value = null } = submission;
    const fault = await this.#post(submission);
    if (receipt === this.getAttribute("receipt")) this.#settle(submission, fault);
    const detail = { kind, value, ok: !fault, error: fault?.message ?? null };
    this.dispatchEvent(new CustomEvent("ratchet-feedback", { detail, bubbles: true, composed: true }));
  }

  #settle({ kind, value = null, id }, fault) {
    const vote = kind === "thumbs";
    if (!fault && vote) {
      this.#counted = value;
      if (value === null) this.removeAttribute("vote");
      else this.setAttribute("vote", value ? "up" : "down");
    }
    if (this.#sent[kind]?.id !== id) return; // a newer one follows
    if (!fault) delete this.#drafts[kind];
    else if (/busy|reach/.test(fault.key)) this.#failed = { kind, value };
    if (vote) this.#vote = this.#counted;
    this.#say(this.#word(fault?.key ?? (value === null ? "retracted" : "sent")), !!fault);
    this.#show();
  }

  // Resolves to null, or to what went wrong.
  async #post(submission) {
    const base = (this.getAttribute("base") ?? HERE).replace(/\/?$/, "/");
    try {
      const response = await fetch(new URL(`${base}v1/feedback`, document.baseURI), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(submission),
        credentials: "omit",
        keepalive: submission.kind === "thumbs", // arrives though the page is left
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (response.ok) return null;
      const { status } = response;
      const message = (await response.json().catch(() => null))?.error?.message ?? `HTTP ${status}`;
      const busy = status >= 500 || status === 429;
      return { key: busy ? "busy" : status === 401 ? "expired" : "refused", message };
    } catch (error) { // no answer: no network, no permission for this origin, or too late
      return { key: "unreachable", message: `${error}` };
    }
  }
}

if (!customElements.get("ratchet-thumbs")) customElements.define("ratchet-thumbs", RatchetThumbs);
