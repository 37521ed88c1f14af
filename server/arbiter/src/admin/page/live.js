/* The stream of snapshots, and what people order. */

const SILENCE = 3500, LONGEST_PAUSE = 15000;
let token = null;
try { token = sessionStorage.getItem("podicorn-token"); } catch { /* storage is off: the token lives in this page */ }
let stream = null, timer = null, pause = 0, due = 0, why = "", heard = 0, ended = false;

function ask(path, options = {}) {
  const headers = token ? { Authorization: "Bearer " + token } : {};
  return fetch(path, { signal: AbortSignal.timeout(5000), ...options, headers, cache: "no-store" });
}

async function explain(response) {
  try {
    const problem = await response.json();
    return problem.detail || problem.title;
  } catch {
    return response.status + " " + response.statusText;
  }
}

function locked() {
  $("pool").hidden = $("orders").hidden = true;
  $("login").hidden = false;
  trouble("");
  link("", "locked");
  text($("phase"), "locked");
  $("phase-dot").className = "dot";
  if (token) $("login-note").textContent = "That is not the token of this server.";
  $("token").focus();
}

/* Whether the figures are those of now: it changes without the server's help. */
function link(dot, words) {
  $("link-dot").className = "dot " + dot;
  text($("link"), words);
}
setInterval(() => {
  if (stream === "locked" || document.hidden) return;
  const age = heard ? Date.now() - heard : 0, old = age > SILENCE;
  $("pool").classList.toggle("old", old);
  const since = heard ? "figures are " + Math.round(age / 1000) + " s old" : "no figures yet";
  if (timer) link("lost", "trying again in " + Math.max(0, Math.ceil((due - Date.now()) / 1000)) + " s; " + since);
  else if (old) link("stale", "stale: " + since);
  else if (heard) link("live", "live");
  if (timer && why) trouble(why);
}, 250);

/* Reads until the stream ends. Throws what is wrong with it. */
async function follow(signal) {
  /* A server that takes the connection and says nothing must not be waited for. */
  const impatience = new AbortController(), alarm = setTimeout(() => impatience.abort(), 5000);
  signal.addEventListener("abort", () => impatience.abort());
  const response = await ask("/watch", { signal: impatience.signal });
  clearTimeout(alarm);
  if (response.status === 401) return "locked";
  if (!response.ok) throw new Error(await explain(response));
  const reader = response.body.getReader(), decoder = new TextDecoder();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return "ended";
    rest += decoder.decode(value, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop();
    if (!lines.length) continue;
    /* Of several that have come together only the newest is news. */
    const status = JSON.parse(lines[lines.length - 1]);
    heard = Date.now();
    pause = 0;
    $("login").hidden = true;
    $("pool").hidden = $("orders").hidden = false;
    show(status);
    ended = status.phase === "draining";
  }
}

async function run() {
  clearTimeout(timer);
  timer = null;
  if (stream && stream !== "locked") stream.abort();
  const mine = stream = new AbortController();
  let end;
  try {
    end = await follow(mine.signal);
    why = ended ? "The server has ended." : "";
  } catch (error) {
    why = (ended ? "The server has ended, or" : "The admin API") + " does not answer: " + error.message;
  }
  if (stream !== mine) return;
  if (end === "locked") {
    stream = "locked";
    return locked();
  }
  /* A stream that was whole begins anew at once; else twice as long each time, and not all pages at the same moment. */
  pause = end === "ended" && !ended ? 0 : Math.min(LONGEST_PAUSE, Math.max(500, pause * 2));
  const wait = pause * (0.75 + Math.random() / 2);
  due = Date.now() + wait;
  if (pause >= 1000 || ended) {
    text($("phase"), "no answer");
    $("phase-dot").className = "dot lost";
  }
  timer = setTimeout(run, wait);
}

async function order(path, describe) {
  const note = $("answer");
  try {
    const response = await ask(path, { method: "POST" });
    note.textContent = response.ok ? describe(await response.json()) : await explain(response);
  } catch (error) {
    note.textContent = error.message;
  }
  note.hidden = false;
  clearTimeout(order.timer);
  order.timer = setTimeout(() => { note.hidden = true; }, 8000);
}

async function showStack(slot) {
  $("stack").dataset.slot = slot;
  $("stack-title").textContent = "Worker in slot " + slot;
  $("stack-text").textContent = "asking …";
  if (!$("stack").open) $("stack").showModal();
  try {
    const response = await ask("/workers/" + slot + "/stack");
    $("stack-text").textContent = response.ok ? await response.text() : await explain(response);
  } catch (error) {
    $("stack-text").textContent = error.message;
  }
}

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  try { sessionStorage.setItem("podicorn-token", token); } catch { /* see above */ }
  run();
});
$("ttin").addEventListener("click", () => order("/scale/ttin", (view) => view.message));
$("ttou").addEventListener("click", () => order("/scale/ttou", (view) => view.message));
$("reload").addEventListener("click", () => {
  if (confirm("Load code and configuration again?"))
    order("/reload", (view) => "Generation " + view.generation + (view.queued ? " follows the reload that is running." : " is being started."));
});
$("stack-close").addEventListener("click", () => $("stack").close());
$("stack-again").addEventListener("click", () => showStack(Number($("stack").dataset.slot)));
/* A page that nobody sees costs the server nothing. */
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) { if (stream !== "locked") run(); return; }
  clearTimeout(timer);
  timer = null;
  if (stream && stream !== "locked") { stream.abort(); stream = null; }
});
run();
