/* From figures to the page. Elements are kept and changed, so that focus, selection and scrolling stay. */

const $ = (id) => document.getElementById(id);
const KEPT = 120, EVENTS = 40;
const history = [];
const happened = [];

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text != null) made.textContent = text;
  if (className) made.className = className;
  return made;
}
function text(node, value) {
  if (node.textContent !== String(value)) node.textContent = value;
}

/* ---- tiles ---- */

const SVG = "http://www.w3.org/2000/svg";
/* Lines of the last two minutes on one scale. Each is [figure, colour] or [figure, colour, "limit"]. */
const CHARTS = {
  rate: [["rate", "--accent"]],
  latency: [["p95", "--accent"], ["p50", "--idle"]],
  busy: [["busy", "--busy"], ["ready", "--idle", "limit"]],
  queue: [["waiting", "--bad"]],
  errors: [["errors", "--bad"]],
  lag: [["lag", "--draining"]],
};

function chart(name, lines) {
  const tile = $("tile-" + name);
  let svg = tile.querySelector("svg");
  if (!svg) {
    svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 120 46");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    for (const [, colour, kind] of lines) {
      for (const part of kind ? [kind] : ["area", "line"]) {
        const path = document.createElementNS(SVG, "path");
        path.setAttribute("class", part);
        path.style[part === "area" ? "fill" : "stroke"] = "var(" + colour + ")";
        svg.append(path);
      }
    }
    tile.append(svg);
  }
  const top = Math.max(1e-9, ...lines.flatMap(([key]) => history.map((one) => one[key] || 0)));
  const step = 120 / (KEPT - 1), from = KEPT - history.length;
  const paths = [...svg.children];
  for (const [key, , kind] of lines) {
    const points = history.map((one, index) => ((from + index) * step).toFixed(2) + " " + (43 - (one[key] || 0) / top * 39).toFixed(2));
    if (!kind) paths.shift().setAttribute("d", points.length ? "M" + (from * step).toFixed(2) + " 46L" + points.join("L") + "L120 46Z" : "");
    paths.shift().setAttribute("d", points.length ? "M" + points.join("L") : "");
  }
}

function tile(name, value, small, note) {
  const node = $("tile-" + name), big = node.querySelector("b");
  if (big.childNodes.length !== 2) big.replaceChildren(document.createTextNode(""), element("small"));
  if (big.firstChild.nodeValue !== value) big.firstChild.nodeValue = value;
  text(big.lastChild, small ? " " + small : "");
  text(node.querySelector("p"), note);
}

function meter(name, share) {
  const bar = $("tile-" + name).querySelector(".meter");
  bar.style.visibility = share == null ? "hidden" : "";
  const fill = bar.firstElementChild;
  fill.style.width = Math.min(1, share || 0) * 100 + "%";
  fill.className = share > .95 ? "full" : share > .8 ? "high" : "";
}

function tiles(status, now) {
  const peak = (key) => Math.max(0, ...history.map((one) => one[key] || 0));
  tile("rate", now.rate == null ? "–" : rate(now.rate), "", "peak of two minutes " + rate(peak("rate")));
  tile("latency", seconds(now.p95), now.p95 == null ? "" : "for 95 %",
    now.p50 == null ? "no requests" : "half within " + seconds(now.p50) + ", 99 % within " + seconds(now.p99));
  tile("busy", now.busy == null ? "–" : now.busy.toFixed(1), "of " + now.ready,
    now.inFlight + (now.inFlight === 1 ? " request runs" : " requests run") + (now.busy != null && now.ready ? ", " + percent(now.busy / now.ready) + " of the time" : ""));
  tile("queue", whole(now.waiting), now.waiting === 1 ? "request" : "requests",
    now.waiting ? now.accepted + " not accepted yet, " + now.queued + " in workers"
      : now.queue95 == null ? "nothing waits" : "95 % waited up to " + seconds(now.queue95));
  const all = requests(status);
  tile("errors", now.errors == null ? "–" : rate(now.errors), "",
    whole(status.totals.requests["5xx"]) + " of " + whole(all) + " so far; " + whole(status.totals.requestTimeouts) + " timed out");
  tile("lag", seconds(now.lag), "", "how late the GIL or the loop was, at most");
  tile("memory", bytes(now.memory), now.limit ? "of " + bytes(now.limit) : "",
    now.limit ? percent(now.memory / now.limit) + " of the limit cannot be reclaimed" : "no limit is set");
  meter("memory", now.limit ? now.memory / now.limit : null);
  tile("cpu", now.cores == null ? "–" : now.cores.toFixed(2), now.quota ? "of " + +now.quota.toFixed(2) + " cores" : "",
    now.throttled ? "throttled in " + percent(now.throttled) + " of the periods" : "not throttled");
  meter("cpu", now.quota && now.cores != null ? now.cores / now.quota : null);
  for (const [name, lines] of Object.entries(CHARTS)) chart(name, lines);
  /* What this worker type or container cannot tell takes no room. */
  const silent = { lag: now.lag == null, cpu: now.quota == null, memory: now.memory == null };
  let count = 0;
  for (const node of document.querySelectorAll(".tile")) count += !(node.hidden = !!silent[node.id.slice(5)]);
  document.querySelector(".tiles").dataset.count = count;
}

/* ---- scaling ---- */

function scaling(status, now) {
  const scale = status.scale, decision = scale.decision;
  /* Of a fixed number the policy says that no other can be had; the bounds are those of orders. */
  const fixed = scale.min === scale.max || (decision && ["configuration", "step"].includes(scale.reason) &&
    decision.cap.workers === scale.target && scale.max > scale.target);
  const most = fixed ? Math.max(scale.target, now.ready, 1) : Math.max(scale.max, scale.target, now.ready, 1);
  const at = (count) => Math.max(0, Math.min(1, count / most)) * 100 + "%";
  const bar = $("scale"), cap = !fixed && decision && decision.cap.workers < scale.max ? decision.cap.workers : null;
  bar.querySelector(".ready").style.width = at(now.ready);
  bar.querySelector(".want").style.left = at(scale.target);
  bar.querySelector(".cap").style.left = cap == null ? "" : at(cap);
  bar.querySelector(".cap").hidden = cap == null;
  bar.setAttribute("aria-label", now.ready + " ready, " + scale.target + " wanted, at most " + most);
  const sources = { configuration: "as configured", step: "by a step (TTIN, TTOU)", policy: "by the load", lease: "by a lease", expiry: "since a lease ended" };
  text($("scale-by"), scale.target + (scale.target === 1 ? " worker" : " workers") + " wanted " + (sources[scale.reason] || scale.reason) + ", " + now.ready + " ready");
  text($("scale-min"), fixed ? "a fixed number" : "from " + scale.min);
  text($("scale-max"), fixed ? "" : "to " + scale.max + (cap == null ? "" : ", for now at most " + cap));
  text($("scale-why"), decision ? decision.message : "");
  const inputs = decision && decision.inputs;
  const lines = decision ? decision.vetoes.map((veto) => ["No more", veto.message]) : [];
  if (scale.clamped) lines.push(["Clamped", scale.clamped]);
  if (inputs && inputs.arrivalsPerSecond > 0) lines.push(["Seen", rate(inputs.arrivalsPerSecond) + " requests come and " +
    rate(inputs.completionsPerSecond) + " are answered per second" + (inputs.serviceSeconds != null ? ", each takes " + seconds(inputs.serviceSeconds) : "") +
    (inputs.demandErlangs != null ? ": work for " + inputs.demandErlangs.toFixed(1) + " workers" : "")]);
  if (status.scaling.bootSeconds != null) lines.push(["Boot", "a worker is ready " + seconds(status.scaling.bootSeconds) + " after the fork"]);
  list($("vetoes"), lines);
}

function list(node, lines) {
  node.replaceChildren(...lines.map(([heading, words]) => {
    const item = element("li");
    item.append(element("b", heading), element("span", words));
    return item;
  }));
}

function events(status) {
  const all = [...happened, ...status.deaths.map(deathOf), ...status.scaling.changes.map(changeOf)].sort((one, other) => other[0] - one[0]).slice(0, EVENTS);
  const items = all.map(([at, heading, words]) => {
    const item = element("li");
    const time = element("time", at.toTimeString().slice(0, 8));
    time.dateTime = at.toISOString();
    item.append(time, element("b", heading), element("span", words));
    return item;
  });
  if (!items.length) items.push(element("li", "Nothing yet.", "soft"));
  const node = $("events"), key = JSON.stringify(all);
  if (node.dataset.key !== key) {
    node.dataset.key = key;
    node.replaceChildren(...items);
  }
}

/* ---- workers ---- */

const COLUMNS = [["", "state"], ["slot", "num"], ["pid", "num"], ["gen.", "num little"], ["up", "num little"], ["requests", "num"],
  ["running", "num"], ["conn.", "num little"], ["busy", ""], ["memory", "num"], ["beat", "num little"], ["", "doing"], ["", "act"]];
const rows = new Map(), cells = new Map();

function newRow(slot) {
  const line = element("tr");
  for (const [label, className] of COLUMNS) {
    const cell = line.appendChild(element("td", null, className === "state" ? "" : className));
    if (label) cell.dataset.label = label;
  }
  const [state] = line.children, act = line.lastElementChild, busy = line.children[8];
  const pill = element("span", null, "state");
  pill.append(element("i", null, "dot"), element("span"));
  state.append(pill);
  const bar = element("span", null, "bar");
  bar.append(element("i"));
  busy.append(bar, element("span"));
  const button = element("button", "Stack", "small");
  button.title = "Where its threads, tasks and greenlets are now";
  button.addEventListener("click", () => showStack(slot));
  act.append(button);
  return line;
}

function fill(line, worker, share) {
  const at = line.children;
  at[0].querySelector(".dot").className = "dot " + worker.state;
  text(at[0].querySelector(".state > span"), worker.state);
  text(at[1], worker.slot);
  text(at[2], worker.pid ?? "–");
  text(at[3], worker.generation);
  text(at[4], seconds(Math.floor(worker.uptimeSeconds)));
  text(at[5], whole(worker.requests));
  text(at[6], worker.inFlight + (worker.queued ? " + " + worker.queued : ""));
  text(at[7], whole(worker.connections));
  at[8].querySelector(".bar").style.visibility = share == null ? "hidden" : "";
  at[8].querySelector(".bar i").style.width = (share || 0) * 100 + "%";
  text(at[8].lastElementChild, share == null ? "–" : percent(share));
  text(at[9], worker.memory ? bytes(worker.memory.ussBytes) : "–");
  text(at[10], worker.lastBeatSeconds == null ? "–" : worker.lastBeatSeconds.toFixed(1) + " s");
  at[10].title = worker.lagSeconds == null ? "" : "late by " + seconds(worker.lagSeconds);
  const doing = worker.currentRequest, done = worker.recentRequests[0], request = at[11];
  if (doing) {
    const slow = element("span", " for " + seconds(doing.seconds), doing.seconds > 10 ? "long" : "");
    request.replaceChildren(element("code", doing.method + " " + doing.path), slow);
    if (worker.inFlight > 1) request.append(" and " + (worker.inFlight - 1) + " more");
  } else if (done) {
    request.replaceChildren(element("code", done.method + " " + done.path, "soft"),
      element("span", " → " + (done.status ?? "no answer") + " in " + seconds(done.seconds), "soft"));
  } else {
    request.replaceChildren("–");
  }
  request.title = request.textContent;
}

/* Makes what is missing, drops what has gone, and keeps the order of the slots. */
function keyed(kept, parent, slots, make) {
  for (const [slot, node] of kept) if (!slots.includes(slot)) { node.remove(); kept.delete(slot); }
  slots.forEach((slot, index) => {
    if (!kept.has(slot)) kept.set(slot, make(slot));
    if (parent.children[index] !== kept.get(slot)) parent.insertBefore(kept.get(slot), parent.children[index] || null);
  });
}

function workers(status, now) {
  const slots = status.workers.map((worker) => worker.slot);
  keyed(rows, $("workers").tBodies[0], slots, newRow);
  keyed(cells, $("map"), slots, (slot) => {
    const cell = element("button");
    cell.append(element("i"), element("span", slot));
    cell.addEventListener("click", () => rows.get(slot).scrollIntoView({ block: "center" }));
    return cell;
  });
  status.workers.forEach((worker, index) => {
    const share = now.shares[index], cell = cells.get(worker.slot);
    fill(rows.get(worker.slot), worker, share);
    cell.className = "cell is-" + worker.state;
    cell.firstElementChild.style.height = (share || 0) * 100 + "%";
    cell.title = "slot " + worker.slot + ", " + worker.state + (share == null ? "" : ", " + percent(share) + " busy");
    cell.setAttribute("aria-label", cell.title);
  });
  const count = (state) => status.workers.filter((worker) => worker.state === state).length;
  $("legend").replaceChildren(...["busy", "idle", "starting", "draining", "exiting"].filter(count).map((state) => {
    const item = element("span");
    item.append(element("i", null, "dot " + state), count(state) + " " + state);
    return item;
  }));
}

function around(status) {
  const body = $("facts").tBodies[0], list = facts(status);
  while (body.rows.length > list.length) body.lastElementChild.remove();
  list.forEach(([name, value], index) => {
    const line = body.rows[index] || body.appendChild(element("tr"));
    if (!line.cells.length) line.append(element("td"), element("td"));
    text(line.cells[0], name);
    text(line.cells[1], value);
  });
}

/* ---- all of it ---- */

/* The last few snapshots of this server: a second has too few requests to tell the latency of a quiet app. */
let recent = [];
const WIDE = 5;

function show(status) {
  const newest = recent[recent.length - 1];
  /* A restarted arbiter counts from zero: nothing to compare with. */
  if (newest && (newest.pid !== status.pid || newest.startedAt !== status.startedAt)) recent = [];
  const before = recent[recent.length - 1];
  if (before && status.uptimeSeconds <= before.uptimeSeconds) return;
  const now = figures(status, before, recent[0]);
  recent.push(status);
  if (recent.length > WIDE) recent.shift();
  if (before) {
    history.push(now);
    if (history.length > KEPT) history.shift();
  }
  happened.unshift(...changes(status, before).reverse());
  happened.length = Math.min(happened.length, EVENTS);
  $("phase").textContent = status.phase;
  $("phase-dot").className = "dot " + status.phase;
  text($("about"), status.version + ", pid " + status.pid + ", up " + seconds(Math.floor(status.uptimeSeconds)) + ", generation " + status.generation);
  tiles(status, now);
  scaling(status, now);
  events(status);
  workers(status, now);
  around(status);
  document.title = now.ready + "/" + status.scale.target + " Podicorn";
  trouble(troubles(status));
}

function trouble(words) {
  $("trouble").hidden = !words;
  text($("trouble"), words);
}
