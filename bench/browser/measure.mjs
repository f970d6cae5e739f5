// Verification in headless Chromium, turn by turn with one verification of a signature by the browser itself.
// Called by bench/src/browser.rs with a file of JSON; answers in JSON, all times in seconds.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { gzipSync } from "node:zlib";

import { Chromium } from "../../client/web/test/chromium.mjs";

const { rounds, cases, raw } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const package_ = (name) => readFileSync(new URL(`../../client/js/${name}`, import.meta.url));
const served = new Map([
  ["/", ["text/html", "<!doctype html>"]],
  ["/casemate.js", ["text/javascript", package_("casemate.js")]],
  ["/casemate.wasm", ["application/wasm", package_("casemate.wasm")]],
]);
for (const { files } of cases) for (const file of files) served.set(file, ["application/octet-stream", readFileSync(file)]);

const server = createServer((request, response) => {
  const [type, body] = served.get(request.url) ?? [];
  response.writeHead(type ? 200 : 404, { "content-type": type ?? "text/plain" }).end(body);
});
await new Promise((resolve) => server.listen(0, "localhost", resolve));

/** Runs in the page, which has nothing of this file. */
async function measure({ rounds, cases, raw }) {
  const bytes = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
  const unhex = (digits) => Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16));
  const seconds = async (calls, run) => {
    const began = performance.now();
    for (let call = 0; call < calls; call++) await run();
    return (performance.now() - began) / 1000 / calls;
  };
  const { load } = await import("/casemate.js");
  const module = await bytes("/casemate.wasm");
  const ready = await Promise.all(
    cases.map(async ({ files, question }) => ({ files: await Promise.all(files.map(bytes)), question })),
  );
  const verify = (casemate, { files, question }) => {
    const { verdict, text } = casemate.verify(files, question);
    if (verdict.outcome !== "verified") throw new Error(text);
  };

  const algorithm = { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" };
  const key = await crypto.subtle.importKey("raw", unhex(raw.key), algorithm, false, ["verify"]);
  const [message, signature] = [unhex(raw.message), unhex(raw.signature)];
  const theirs = async () => {
    if (!(await crypto.subtle.verify(algorithm, key, signature, message))) throw new Error("not a good signature");
  };

  const start = [];
  for (let round = 0; round < rounds; round++) start.push(await seconds(1, async () => verify(await load(module), ready[0])));
  const casemate = await load(module);
  const pairs = [];
  for (const one of ready) {
    const [ourTimes, theirTimes] = [[], []];
    const turn = [async () => ourTimes.push(await seconds(1, () => verify(casemate, one))), async () => theirTimes.push(await seconds(20, theirs))];
    for (const run of turn) await run();
    ourTimes.length = theirTimes.length = 0; // that was to warm up
    for (let round = 0; round < rounds; round++) for (const run of round % 2 ? turn : turn.toReversed()) await run();
    pairs.push({ ours: ourTimes, theirs: theirTimes });
  }
  return { start, pairs };
}

const browser = await Chromium.start();
try {
  await browser.open(`http://localhost:${server.address().port}/`);
  const answer = await browser.evaluate(`(${measure})(${JSON.stringify({ rounds, cases, raw })})`);
  const compressed = gzipSync(package_("casemate.wasm"), { level: 9 }).length;
  console.log(JSON.stringify({ ...answer, compressed }));
} finally {
  await browser.stop();
  server.closeAllConnections();
  server.close();
}
