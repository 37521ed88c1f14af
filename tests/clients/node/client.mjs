// Node's http module, or with the argument "fetch" its fetch(), as a program; see ../README.md.
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import http from "node:http";
import { Readable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";

const PIECE = 251 * 256;
const REPEATED = Buffer.from(Array.from({ length: PIECE }, (_, index) => index % 251));

/** The pieces of a body: the bytes 0 to 250, over and over. `count` is told of each. */
function* pattern(size, count = () => {}) {
  for (let left = size; left > 0; left -= PIECE) {
    const piece = REPEATED.subarray(0, Math.min(left, PIECE));
    count(piece.length);
    yield piece;
  }
}

/** Adds length, sha256 and text of a body as it comes. */
async function digest(pieces, out) {
  const sum = createHash("sha256");
  const first = [];
  out.length = 0;
  for await (const piece of pieces) {
    sum.update(piece);
    if (out.length <= 4096) first.push(piece);
    out.length += piece.length;
  }
  out.sha256 = sum.digest("hex");
  out.text = out.length <= 4096 ? Buffer.concat(first).toString() : null;
}

function flatten(headers) {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : value]),
  );
}

function byModule(agent, url, wanted, out) {
  return new Promise((done, failed) => {
    const { size, chunked } = wanted.body ?? {};
    const headers = { ...wanted.headers };
    if (size !== undefined && !chunked) headers["Content-Length"] = size;
    // Only a path: the URL class would take dot segments away.
    const { hostname, port } = new URL(url);
    const request = http.request({ agent, hostname, port, path: wanted.target, method: wanted.method, headers });
    Object.assign(out, { attempts: 1, interim: [], continued: false, early: 0 });
    let taken = 0;
    const sendBody = () => Readable.from(pattern(size, (more) => (taken += more))).pipe(request);
    request.on("error", failed);
    request.on("information", ({ statusCode, headers }) => {
      if (statusCode !== 100) out.interim.push([statusCode, flatten(headers)]);
    });
    request.on("continue", () => {
      out.continued = true;
      out.early = taken;
      sendBody();
    });
    request.on("response", async (response) => {
      out.reused = request.reusedSocket;
      if (!out.continued) out.early = taken;
      out.status = response.statusCode;
      out.version = response.httpVersion;
      out.headers = flatten(response.headers);
      try {
        await digest(response, out);
        done();
      } catch (error) {
        failed(error);
      }
      // A request that was told not to send its body is never ended otherwise.
      if (!request.writableEnded) request.destroy();
    });
    if (size === undefined) request.end();
    else if (request.getHeader("Expect")) request.flushHeaders();
    else sendBody();
  });
}

async function byFetch(url, wanted, out) {
  const { size, chunked } = wanted.body ?? {};
  let body;
  if (size !== undefined) {
    body = chunked ? Readable.toWeb(Readable.from(pattern(size))) : Buffer.concat([...pattern(size)]);
  }
  const response = await fetch(url + wanted.target, {
    method: wanted.method,
    headers: wanted.headers,
    body,
    duplex: "half",
    redirect: "manual",
  });
  Object.assign(out, { reused: null, attempts: null, interim: null, continued: null, early: null, version: null });
  out.status = response.status;
  out.headers = Object.fromEntries(response.headers);
  await digest(response.body ?? [], out);
}

async function read(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

const { url, parallel = 1, exchanges } = JSON.parse(await read(process.stdin));
const agent = new http.Agent({ keepAlive: true, maxSockets: parallel });
const results = exchanges.map(() => ({ error: null }));
let next = 0;

async function user() {
  while (next < exchanges.length) {
    const number = next++;
    const wanted = exchanges[number];
    while (wanted.after && !existsSync(wanted.after)) await sleep(20);
    try {
      if (process.argv[2] === "fetch") await byFetch(url, wanted, results[number]);
      else await byModule(agent, url, wanted, results[number]);
    } catch (error) {
      results[number].error = [error.message, error.code, error.cause?.message].filter(Boolean).join("; ");
    }
  }
}

await Promise.all(Array.from({ length: parallel }, user));
agent.destroy();
process.stdout.write(JSON.stringify(results));
