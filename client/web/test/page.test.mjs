// The page, in headless Chromium: it works from a disk and from a server, without a network, and says what the native
// verifier says.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:http";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { isExpected, lenient, present, vectors } from "../../js/test/table.mjs";
import { Chromium } from "./chromium.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const page = new URL("../../../target/web/index.html", import.meta.url);
const ask = here("../../../target/debug/examples/ask");
const ready = "document.querySelector('#answer')?.dataset.state === 'waiting'";

let browser;
let server;
let origin;
/** What the server answers under /.well-known/casemate, and the last request for it. */
const site = { status: 200, body: Buffer.alloc(0), asked: undefined };

before(async () => {
  browser = await Chromium.start();
  server = createServer((request, response) => {
    if (request.url.startsWith("/.well-known/casemate")) {
      site.asked = request;
      response.writeHead(site.status, { "access-control-allow-origin": "*" }).end(site.body);
    } else if (request.url === "/") {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(readFileSync(page));
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "localhost", resolve));
  origin = `http://localhost:${server.address().port}`;
});

after(async () => {
  await browser?.stop();
  server?.closeAllConnections();
  server?.close();
});

/** What the page shows. */
const shown = () =>
  browser.evaluate(`(() => {
    const text = (id) => document.querySelector(id).textContent;
    const items = (id) => [...document.querySelectorAll(id + " li")].map((item) => item.textContent);
    return {
      state: document.querySelector("#answer").dataset.state, tag: text("#tag"), sentence: text("#sentence"),
      tree: text("#tree"), hints: items("#hints"), open: items("#open"), json: text("#as-json pre"), text: text("#as-text pre"),
      milliseconds: Number(document.querySelector("#answer").dataset.milliseconds),
    };
  })()`);

/** Hands over files and waits for the answer. */
async function handOver(paths) {
  await browser.choose("#files", paths);
  await browser.until(`document.querySelectorAll("#given li").length === ${paths.length} && !(${ready})`);
}

const set = (id, value) =>
  browser.evaluate(`(() => {
    const field = document.querySelector(${JSON.stringify(id)});
    field.value = ${JSON.stringify(value)};
    field.dispatchEvent(new Event("input", { bubbles: true }));
  })()`);
const click = (id) => browser.evaluate(`document.querySelector(${JSON.stringify(id)}).click()`);

const report = () => vectors().find(({ name }) => name.startsWith("snp/turin-"));

test("it asks for nothing but itself, from a disk and from a server", { skip: !present() }, async () => {
  for (const url of [page.href, `${origin}/`]) {
    await browser.open(url, ready);
    const { cases } = report();
    const { paths } = cases[0];
    await set("#at", new Date(cases[0].at).toISOString().slice(0, 19));
    await handOver(paths);
    assert.equal((await shown()).state, "verified", url);
    const asked = browser.requests.filter((request) => !request.startsWith("data:"));
    assert.deepEqual(asked, [url]);
    assert.deepEqual(browser.complaints, []);
  }
});

test("every vector gives the expected answer, and the native one", { skip: !present() }, async () => {
  await browser.open(page.href, ready);
  const strangers = await browser.evaluate("document.querySelector('#policy-text').value");
  const milliseconds = new Map();
  for (const vector of vectors()) {
    let given;
    for (const one of vector.cases) {
      const { at, paths, expected } = one;
      const policy = lenient(strangers, one);
      const context = `${vector.name} at ${new Date(at).toISOString()}: ${expected}`;
      if (given !== paths.join()) {
        await browser.open(page.href, ready);
        await set("#policy-text", policy);
        await handOver(paths);
        given = paths.join();
      }
      await set("#at", new Date(at).toISOString().slice(0, 19));
      const answer = await shown();
      const verdict = JSON.parse(answer.json);
      assert.ok(isExpected(one, verdict), `${context}\n${answer.text}`);
      const request = JSON.stringify({ verify: { policy, at_ms: at, subject: "The evidence" } });
      const { stdout } = await promisify(execFile)(ask, [request, ...paths], { maxBuffer: 16 << 20 });
      const native = JSON.parse(stdout).answer;
      assert.deepEqual(verdict, native.verdict, context);
      assert.equal(answer.text, native.text, context);
      for (const { text } of native.outline.branches) assert.ok(answer.tree.includes(text), context);
      assert.deepEqual(answer.open, native.outline.not_established, context);
      const { kind } = vector.json;
      milliseconds.set(kind, [...(milliseconds.get(kind) ?? []), answer.milliseconds]);
    }
  }
  for (const [kind, times] of milliseconds) {
    times.sort((a, b) => a - b);
    const [median, worst] = [times[times.length >> 1], times.at(-1)].map(Math.round);
    console.log(`${times.length} appraisals of ${kind} in Chromium: median ${median} ms, worst ${worst} ms`);
  }
});

test("every vector says what it states when it is inspected, and what the native verifier says", { skip: !present() }, async () => {
  let inspected = 0;
  for (const vector of vectors()) {
    await browser.open(page.href, ready);
    await browser.evaluate("document.querySelector('#fields').open = true");
    let given = false;
    for (const { at, paths, faults } of vector.inspections) {
      await set("#at", new Date(at).toISOString().slice(0, 19));
      if (!given) await handOver(paths);
      given = true;
      const inspection = JSON.parse(await browser.evaluate("document.querySelector('#fields pre').textContent"));
      assert.deepEqual(faults(inspection), [], vector.name);
      const request = JSON.stringify({ inspect: { at_ms: at } });
      const { stdout } = await promisify(execFile)(ask, [request, ...paths], { maxBuffer: 16 << 20 });
      assert.deepEqual(inspection, JSON.parse(stdout).inspection, vector.name);
      inspected += 1;
    }
  }
  assert.ok(inspected > 0);
  console.log(`${inspected} inspections of ${vectors().length} vectors in Chromium`);
});

test("logs and certificates alone are shown, and not judged", { skip: !present() }, async () => {
  for (const [kind, text] of [["tcg-eventlog", /EV_SEPARATOR/], ["snp-certs", /SEV-Milan/]]) {
    await browser.open(page.href, ready);
    const vector = vectors().find(({ name }) => name.startsWith(`${kind}/`) && (kind !== "snp-certs" || name.includes("milan-v")));
    await handOver(vector.inspections[0].paths);
    const { state, tag, tree } = await shown();
    assert.deepEqual([state, tag], ["described", "NOT JUDGED"]);
    assert.match(tree, text);
  }
});

test("a policy asks what the page asks", { skip: !present() }, async () => {
  await browser.open(page.href, ready);
  const { cases, json } = report();
  const { paths } = cases[0];
  await set("#at", new Date(cases[1].at).toISOString().slice(0, 19));
  await handOver(paths);
  await click("[value=example]");
  assert.equal((await shown()).state, "refused");
  await set("#measurement", json.fields.measurement);
  await set("#workload", json.fields.host_data);
  await set("#report-data", json.fields.report_data);
  const accepted = await shown();
  assert.equal(accepted.state, "verified", accepted.text);
  assert.equal(accepted.sentence, "The evidence is what you deployed");
  await set("#workload", "00".repeat(32));
  const refused = await shown();
  assert.equal(refused.state, "refused");
  assert.match(refused.tree, /HOST_DATA .*expected 000000\.\.0000 \(entered here\)/);
  await set("#workload", "00");
  assert.equal((await shown()).state, "error");
  // What is not shown is not asked.
  await click("[value=hardware_only]");
  assert.equal((await shown()).state, "verified");
  await set("#policy-text", "version = 1");
  assert.equal((await shown()).state, "error");
  assert.equal(await browser.evaluate("document.querySelector('[name=policy]:checked').value"), "own");
});

test("files can be dropped, pasted and taken away, and stay text", { skip: !present() }, async () => {
  await browser.open(page.href, ready);
  const [first, ...rest] = report().cases[0].paths.map((path) => readFileSync(path).toString("base64"));
  await browser.evaluate(`(() => {
    const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const given = new DataTransfer();
    for (const text of ${JSON.stringify(rest)}) given.items.add(new File([bytes(text)], "<img src=x onerror=document.title='!'>"));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true }));
  })()`);
  await browser.until("document.querySelectorAll('#given li').length === 2");
  assert.equal((await shown()).state, "described");
  await set("#pasted", `\n ${first} `);
  await click("#add-pasted");
  const { state, sentence } = await shown();
  assert.notEqual(state, "error", sentence);
  await set("#pasted", "no evidence");
  await click("#add-pasted");
  assert.equal((await shown()).state, "error");
  assert.match(await browser.evaluate("document.querySelector('#given li:last-child').textContent"), /not recognised/);
  await click("#given li:last-child button");
  assert.equal((await shown()).state, state);
  assert.deepEqual(await browser.evaluate("[document.title, document.images.length]"), ["Casemate verifier", 0]);
  assert.deepEqual(browser.complaints, []);
});

test("an address is asked only when somebody asks, and shown only if it answers", { skip: !present() }, async () => {
  await browser.open(page.href, ready);
  const bytes = readFileSync(report().cases[0].paths[0]);
  // A bundle with a report alone (docs/reference/evidence-bundle.md).
  site.body = Buffer.concat([Buffer.from([0x82, 1, 0x81, 0x82, 1, 0x81, 0x59, bytes.length >> 8, bytes.length & 255]), bytes]);
  await set("#address", origin);
  assert.equal(site.asked, undefined);
  await click("#ask-address");
  await browser.until("document.querySelector('#ask-status').textContent.endsWith('answered.')");
  assert.match(site.asked.url, /^\/\.well-known\/casemate\?nonce=[0-9a-f]{64}$/);
  assert.equal(site.asked.headers.cookie ?? site.asked.headers.referer, undefined);
  // A nonce was sent, and nothing in this bundle could answer one.
  assert.match((await shown()).sentence, /names no session/);

  site.status = 404;
  await click("#ask-address");
  await browser.until("document.querySelector('#ask-status').textContent.startsWith('No answer: status 404')");
  site.status = 200;
  site.body = Buffer.alloc((1 << 20) + 1);
  await click("#ask-address");
  await browser.until("document.querySelector('#ask-status').textContent.startsWith('No answer: more than')");
  assert.equal(await browser.evaluate("document.querySelectorAll('#given li').length"), 1);
});

test("whoever cannot see or use a mouse can use it", { skip: !present() }, async () => {
  await browser.open(page.href, ready);
  await handOver(report().cases[0].paths);
  await browser.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))");
  await browser.send("Accessibility.enable");
  const { nodes } = await browser.send("Accessibility.getFullAXTree");
  const used = ["button", "textbox", "radio", "checkbox", "DisclosureTriangle", "Date", "DateTime"];
  const nameless = nodes.filter((node) => !node.ignored && used.includes(node.role?.value) && !node.name?.value);
  assert.deepEqual(nameless.map((node) => node.role.value), []);
  const headings = await browser.evaluate("[...document.querySelectorAll('h1, h2, h3')].filter((h) => h.checkVisibility()).map((h) => Number(h.tagName[1]))");
  assert.equal(headings[0], 1);
  for (const [index, level] of headings.entries()) assert.ok(level <= (headings[index - 1] ?? 1) + 1, headings.join());
});

test("it fits a phone and a desk, by day and by night", { skip: !present() }, async () => {
  await browser.open(page.href, ready);
  await set("#at", new Date(report().cases[1].at).toISOString().slice(0, 19));
  await handOver(report().cases[0].paths);
  for (const [name, width, height] of [["phone", 360, 780], ["desk", 1366, 768]]) {
    for (const dark of [false, true]) {
      const picture = await browser.picture({ width, height, dark });
      writeFileSync(new URL(`${name}-${dark ? "night" : "day"}.png`, page), picture);
      assert.ok(await browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), `${name} scrolls sideways`);
      assert.deepEqual(await browser.evaluate(CONTRASTS), [], `${name}, ${dark ? "night" : "day"}`);
    }
  }
});

/** Texts whose contrast with what is behind them is below 4.5 to 1 (WCAG 2.1, 1.4.3). */
const CONTRASTS = `(() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  // color-mix() is given as color(srgb r g b / a), parts of one.
  const rgba = (color) => {
    const [r, g, b, a = 1] = numbers(color.replace("srgb", ""));
    return color.startsWith("color(") ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((part, i) => part * a + below[i] * (1 - a));
  const behind = (element) => {
    const color = rgba(getComputedStyle(element).backgroundColor);
    return color[3] === 1 ? color.slice(0, 3) : over(color, element.parentElement ? behind(element.parentElement) : [255, 255, 255]);
  };
  const light = (color) => {
    const [r, g, b] = color.map((part) => part / 255).map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest("svg, noscript, script, style")) continue;
    const paper = behind(element);
    const ink = over(rgba(getComputedStyle(element).color), paper);
    const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(element.className + " " + element.textContent.slice(0, 30) + " " + ratio.toFixed(2));
  }
  return bad;
})()`;
