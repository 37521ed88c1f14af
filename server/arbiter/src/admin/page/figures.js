/* Figures, from snapshots to numbers and words. Nothing here touches the page. */

function seconds(value) {
  if (value == null) return "–";
  if (value === 0) return "0 s";
  if (value < 0.001) return (value * 1e6).toFixed(0) + " µs";
  if (value < 1) return (value * 1e3).toFixed(value < 0.01 ? 1 : 0) + " ms";
  if (value < 60) return value.toFixed(value < 10 ? 1 : 0) + " s";
  if (value < 3600) return Math.floor(value / 60) + " min " + Math.floor(value % 60) + " s";
  if (value < 86400) return Math.floor(value / 3600) + " h " + Math.floor(value % 3600 / 60) + " min";
  return Math.floor(value / 86400) + " d " + Math.floor(value % 86400 / 3600) + " h";
}
function bytes(value) {
  if (value == null) return "–";
  const power = Math.min(4, Math.floor(Math.log2(Math.max(1, value)) / 10)), scaled = value / 1024 ** power;
  return scaled.toFixed(power > 1 && scaled < 10 ? 1 : 0) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][power];
}
const whole = (value) => Math.round(value).toLocaleString("en");
const rate = (value) => value === 0 ? "0" : value < 10 ? value.toFixed(1) : whole(value);
const percent = (share) => Math.round(share * 100) + " %";
const requests = (status) => Object.values(status.totals.requests).reduce((sum, count) => sum + count, 0);
const words = (name) => name.replace(/_/g, " ").replace(/[A-Z]/g, (letter) => " " + letter.toLowerCase());
const isReady = (worker) => worker.state === "idle" || worker.state === "busy";

/* The duration within which a share of the observations between two snapshots lies, interpolated within its bucket;
   null without observations. */
function quantile(now, before, share) {
  const counts = now.counts.map((count, index) => count - (before ? before.counts[index] || 0 : 0));
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (all <= 0) return null;
  let sum = 0;
  for (let index = 0; index < counts.length; index++) {
    if (sum + counts[index] >= all * share && counts[index] > 0) {
      const from = index ? now.bounds[index - 1] : 0;
      if (index >= now.bounds.length) return from;
      return from + (now.bounds[index] - from) * (all * share - sum) / counts[index];
    }
    sum += counts[index];
  }
  return null;
}

/* The share of its time that a worker was busy between two snapshots; null for one that is new. Busy time is added when a
   request has ended: so that of the one that runs belongs to it. */
const busyTime = (worker) => worker.busySeconds + (worker.currentRequest ? worker.currentRequest.seconds : 0);
function busyShare(worker, before, span) {
  const same = before && before.workers.find((other) => other.slot === worker.slot && other.age === worker.age);
  if (!same || !(span > 0)) return null;
  return Math.max(0, Math.min(1, (busyTime(worker) - busyTime(same)) / span));
}

/* What is drawn: the figures of the time between two snapshots. `wide` is an earlier one, for what needs many requests. */
function figures(status, before, wide) {
  const span = before ? status.uptimeSeconds - before.uptimeSeconds : 0;
  const per = (now, then) => span > 0 ? Math.max(0, now - then) / span : null;
  const sum = (key) => status.workers.reduce((total, worker) => total + worker[key], 0);
  const accepted = status.listeners.reduce((all, listener) => all + (listener.acceptQueue ? listener.acceptQueue.length : 0), 0);
  const shares = status.workers.map((worker) => busyShare(worker, before, span));
  const ready = status.workers.filter(isReady);
  const group = status.memory.cgroup, cpu = status.scaling.cpu, cpuBefore = before && before.scaling.cpu;
  const duration = status.totals.requestDuration, durationBefore = wide && wide.totals.requestDuration;
  const lags = status.workers.map((worker) => worker.lagSeconds).filter((lag) => lag != null);
  return {
    span, shares, ready: ready.length,
    rate: before ? per(requests(status), requests(before)) : null,
    errors: before ? per(status.totals.requests["5xx"], before.totals.requests["5xx"]) : null,
    p50: quantile(duration, durationBefore, .5), p95: quantile(duration, durationBefore, .95),
    p99: quantile(duration, durationBefore, .99),
    queue95: quantile(status.totals.requestQueue, wide && wide.totals.requestQueue, .95),
    busyNow: ready.filter((worker) => worker.state === "busy").length,
    busy: shares.some((share) => share != null) ? shares.reduce((total, share) => total + (share || 0), 0) : null,
    target: status.scale.target,
    inFlight: sum("inFlight"), waiting: sum("queued") + accepted, queued: sum("queued"), accepted,
    lag: lags.length ? Math.max(...lags) : null,
    memory: group ? group.unreclaimableBytes : null, limit: group ? group.limitBytes : null,
    cores: cpu && cpuBefore ? per(cpu.usedSeconds, cpuBefore.usedSeconds) : null, quota: cpu ? cpu.quotaCores : null,
    throttled: cpu && cpuBefore && cpu.periods > cpuBefore.periods
      ? (cpu.throttledPeriods - cpuBefore.throttledPeriods) / (cpu.periods - cpuBefore.periods) : 0,
  };
}

/* What has changed between two snapshots and somebody wants to know: [time, heading, text]. */
function changes(status, before) {
  const found = [], at = new Date();
  if (!before) return found;
  if (status.generation !== before.generation) found.push([at, "reload", "generation " + status.generation + " serves"]);
  if (status.reloads.failed > before.reloads.failed)
    found.push([at, "reload failed", status.reloads.lastError ? status.reloads.lastError.message : ""]);
  if (status.boot.failures > before.boot.failures)
    found.push([at, "boot failed", status.boot.lastError ? status.boot.lastError.message : ""]);
  for (const [why, count] of Object.entries(status.totals.restarts)) {
    const more = count - before.totals.restarts[why];
    if (more > 0 && !["scale", "reload", "crash", "oom"].includes(why))
      found.push([at, "replaced", (more > 1 ? more + " workers: " : "a worker: ") + words(why)]);
  }
  if (status.phase !== before.phase) found.push([at, status.phase, ""]);
  return found;
}

const changeOf = (change) => [new Date(change.at), change.from + " → " + change.to, change.why];
const deathOf = (death) => [new Date(death.at), "died", "slot " + death.slot + ", pid " + death.pid + ": " + death.how +
  (death.running.length ? ", while serving " + death.running[0].method + " " + death.running[0].path : "")];

/* What an operator is to look at: one text, empty where all is well. */
function troubles(status) {
  const found = [];
  if (status.reloads.lastError) found.push("The last reload failed, the old generation serves on.\n" + status.reloads.lastError.message);
  if (status.boot.lastError && status.boot.consecutiveFailures > 0)
    found.push("Workers do not boot (" + status.boot.consecutiveFailures + " times in a row).\n" + status.boot.lastError.message);
  if (status.forkServer.state === "down") found.push("The fork server is down; a new one is on its way.");
  return found.join("\n\n");
}

/* [name, value] of what stands below the workers. */
function facts(status) {
  const list = [], scale = status.scale;
  if (scale.lease) list.push(["Lease", "epoch " + scale.lease.epoch + " for another " + seconds(scale.lease.remainingSeconds) +
    "; without it " + scale.base + " workers" + (scale.clamped ? "; " + scale.clamped : "")]);
  const made = status.scaling.decisions.filter((one) => one.count > 0 && one.direction !== "hold");
  if (made.length) list.push(["Decisions so far", made.map((one) => one.count + " " + one.direction + " (" + words(one.reason) + ")").join(", ")]);
  list.push(["Requests so far", whole(requests(status)) + ": " + Object.entries(status.totals.requests)
    .filter(([, count]) => count > 0).map(([code, count]) => whole(count) + " " + code).join(", ")]);
  for (const listener of status.listeners) {
    const queue = listener.acceptQueue;
    list.push(["Listens at", listener.address + (queue ? "; accept queue " + queue.length + " of " + queue.limit : "")]);
  }
  list.push(["Workers that ended", Object.entries(status.totals.restarts).filter(([, count]) => count > 0)
    .map(([why, count]) => count + " " + words(why)).join(", ") || "none"]);
  list.push(["Reloads", status.reloads.total + ", " + status.reloads.failed + " failed" + (status.reloads.inProgress ? ", one is running" : "")]);
  list.push(["Boots that failed", status.boot.failures + (status.boot.backoffSeconds != null ?
    "; next try in " + seconds(status.boot.backoffSeconds) : "")]);
  if (status.memory.oomKills) list.push(["Killed for memory", whole(status.memory.oomKills) + " by the kernel"]);
  const fork = status.forkServer;
  list.push(["Fork server", fork.state + (fork.pid ? ", pid " + fork.pid : "") + (fork.memory ? ", " + bytes(fork.memory.pssBytes) : "") +
    (fork.deaths ? ", died " + fork.deaths + " times" : "")]);
  if (status.traces) list.push(["Traces", whole(status.traces.sent) + " spans exported, " + whole(status.traces.waiting) + " waiting, " +
    whole(status.traces.full + status.traces.undelivered + status.traces.overrun) + " dropped"]);
  const lost = status.logLinesDropped + status.totals.accessLogLinesDropped;
  if (lost) list.push(["Log lines dropped", status.logLinesDropped + " error, " + status.totals.accessLogLinesDropped + " access"]);
  if (status.straysReaped) list.push(["Strays reaped", whole(status.straysReaped)]);
  if (status.scoreboardCorruptions) list.push(["Scoreboard corruptions", whole(status.scoreboardCorruptions)]);
  return list;
}
