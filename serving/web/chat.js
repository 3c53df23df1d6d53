// The chat page: asks /v1/chat/completions as any application would, and shows what streams back.
// In: an API key, a model, a name, questions. Out: text nodes, never HTML, and a <ratchet-thumbs>
// for each answer that came with a receipt. Knows nothing of rating: that is thumbs.js.

const ROOT = new URL("..", import.meta.url); // of the gateway, wherever a proxy has put it
const REMEMBERED = ["key", "model", "user"]; // in sessionStorage: gone with the tab
const NEAR_END_PX = 80; // who has scrolled further up is reading: leave the view alone

const $ = (id) => document.getElementById(id);
let messages = []; // the conversation as the model is told it
let stopping = null; // AbortController while an answer is on its way

class Refusal extends Error { // its message is in words for the person at the page
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

// ---- the gateway -----------------------------------------------------------------------------

async function call(path, options = {}) {
  const headers = { authorization: `Bearer ${$("key").value.trim()}`, "content-type": "application/json" };
  let response;
  try {
    response = await fetch(new URL(path, ROOT), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The service cannot be reached. Is it running, and are you online?");
  }
  if (!response.ok) throw new Refusal(await inWords(response), response.status);
  return response;
}

async function inWords(response) {
  const said = (await response.json().catch(() => null))?.error?.message ?? "";
  const after = Number(response.headers.get("retry-after"));
  switch (response.status) {
    case 401: return "This API key is not valid here. It may have been changed or revoked.";
    case 403: return `This API key may not do that. ${said}`;
    case 429: return `Too many requests for this API key. Try again ${after ? `in ${after} s` : "a little later"}.`;
    case 503: return `The service cannot answer at the moment. Try again soon. (${said})`;
    case 500:
    case 502: return `Something failed on the service's side. Try again. (${said})`;
    default: return said || `The service answered with status ${response.status}.`;
  }
}

async function* dataOf(response) { // of server-sent events, in the order they come
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split(/\r?\n\r?\n/);
    rest = events.pop();
    for (const event of events) {
      const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      const data = lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

// ---- one turn --------------------------------------------------------------------------------

async function ask(question) {
  const conversation = messages; // a new chat begins another one, while this ends where it was
  const turn = showAnswer(question);
  conversation.push({ role: "user", content: question });
  stopping = new AbortController();
  setBusy(true);
  speak("Answering.");
  const answer = { text: "", stamp: null };
  try {
    await receive(answer, turn, conversation);
    finish(turn, answer, "");
    conversation.push({ role: "assistant", content: answer.text });
  } catch (error) {
    conversation.pop(); // what was not answered to its end is not part of the conversation
    if (error.name === "AbortError") finish(turn, answer, "Stopped. ");
    else fail(turn, answer, error, question);
  } finally {
    stopping = null;
    setBusy(false);
    turn.text.classList.remove("waiting");
    follow(turn.wasNearEnd());
  }
}

async function receive(answer, turn, conversation) {
  const body = { model: $("model").value.trim() || $("model").dataset.first,
    messages: conversation, stream: true };
  if ($("user").value.trim()) body.user = $("user").value.trim();
  const options = { method: "POST", body: JSON.stringify(body), signal: stopping.signal };
  const response = await call("v1/chat/completions", options);
  answer.stamp = { // known before the first word: also a stopped answer can be rated
    receipt: response.headers.get("x-ratchet-receipt"),
    adapter: response.headers.get("x-ratchet-adapter"),
  };
  for await (const chunk of dataOf(response)) {
    if (chunk.error) throw new Refusal(`The answer broke off: ${chunk.error.message}`);
    answer.stamp = chunk.ratchet ?? answer.stamp;
    answer.text += chunk.choices?.[0]?.delta?.content ?? "";
    const wasNearEnd = turn.wasNearEnd();
    turn.text.textContent = answer.text;
    follow(wasNearEnd);
  }
}

function finish(turn, { text, stamp }, note) {
  speak(`${note}${text}`); // once and whole: a voice that reads every token cannot be followed
  turn.by.textContent = `${note}${stamp?.adapter ? `Answered by ${stamp.adapter}` : ""}`;
  if (!stamp?.receipt || !text) return;
  const thumbs = document.createElement("ratchet-thumbs");
  thumbs.setAttribute("receipt", stamp.receipt);
  thumbs.setAttribute("text", text);
  turn.item.append(thumbs);
}

function fail(turn, answer, error, question) {
  const known = error instanceof Refusal;
  turn.fault.textContent = known ? error.message : "The answer broke off on its way. Try again.";
  if (!answer.text) turn.text.remove();
  if (!$("question").value) $("question").value = question; // to send again, or to change
  speak("");
  if (error.status === 401) openAccess(true, error.message);
}

// ---- what is shown ---------------------------------------------------------------------------

function paragraph(kind) {
  const node = document.createElement("p");
  node.className = kind;
  return node;
}

function item(kind, heading) {
  const node = document.createElement("li");
  node.className = kind;
  const hidden = paragraph("unseen");
  hidden.textContent = heading;
  node.append(hidden);
  $("turns").append(node);
  return node;
}

function showAnswer(question) {
  $("empty").hidden = true;
  const mine = paragraph("text");
  mine.textContent = question;
  item("mine", "You asked:").append(mine);
  const turn = {
    item: item("theirs", "The answer:"),
    text: paragraph("text waiting"),
    fault: paragraph("error"),
    by: paragraph("by"),
    wasNearEnd: () => {
      const { scrollHeight, scrollTop, clientHeight } = $("scroller");
      return scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    },
  };
  turn.fault.setAttribute("role", "alert");
  turn.item.append(turn.text, turn.fault, turn.by);
  follow(true);
  return turn;
}

function follow(wanted) {
  if (wanted) $("scroller").scrollTop = $("scroller").scrollHeight;
}

function speak(text) {
  $("spoken").textContent = text;
}

function setBusy(busy) {
  const hadFocus = document.activeElement === $(busy ? "send" : "stop");
  $("send").hidden = busy;
  $("stop").hidden = !busy;
  if (hadFocus) $(busy ? "stop" : "question").focus();
}

function openAccess(open, fault = "") {
  $("access").hidden = !open;
  $("connection").setAttribute("aria-expanded", open);
  $("access-error").textContent = fault;
  $("key").setAttribute("aria-invalid", Boolean(fault));
  $(open ? "key" : "question").focus();
}

// ---- what the person does --------------------------------------------------------------------

async function connect() {
  const cards = (await (await call("v1/models")).json()).data;
  $("model").dataset.first = cards[0].id; // the key's own application
  $("models").replaceChildren(...cards.map(({ id }) => new Option(id, id)));
  $("model").placeholder = cards[0].id;
  for (const id of REMEMBERED) sessionStorage.setItem(`ratchet-${id}`, $(id).value.trim());
}

async function tryToConnect() {
  try {
    await connect();
    openAccess(false);
  } catch (error) {
    openAccess(true, error.message);
  }
}

function submit() {
  const question = $("question").value.trim();
  if (!question || stopping) return;
  if (!$("model").dataset.first) return openAccess(true, "Connect first, with an API key.");
  $("question").value = "";
  ask(question);
}

$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  tryToConnect();
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("question").addEventListener("keydown", (event) => {
  // isComposing: this Enter chooses a word in an input method
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stopping?.abort();
});
$("stop").addEventListener("click", () => stopping?.abort());
$("connection").addEventListener("click", () => openAccess($("access").hidden));
$("restart").addEventListener("click", () => {
  stopping?.abort();
  messages = [];
  $("turns").replaceChildren();
  $("empty").hidden = false;
  $("question").focus();
});

for (const id of REMEMBERED) $(id).value = sessionStorage.getItem(`ratchet-${id}`) ?? "";
if ($("key").value) tryToConnect();
else openAccess(true);
