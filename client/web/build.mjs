// Builds the page: one file, target/web/index.html, with style, script and WebAssembly inside, so that it works from
// a disk as well as from a server. The content security policy names each part by its hash.

import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { deflateRawSync } from "node:zlib";

/** In the order in which each finds what it needs above it. */
const SCRIPTS = ["../js/casemate.js", "dom.js", "evidence.js", "question.js", "answer.js", "page.js"];

const here = (name) => new URL(name, import.meta.url);
const read = (name) => readFile(here(name), "utf8");
const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** Several modules as one script: what one exports, the next finds under the same name. */
async function script() {
  const parts = await Promise.all(SCRIPTS.map(read));
  const text = parts
    .map((part) => part.replace(/^import .* from ".*";\n/gm, "").replace(/^export /gm, ""))
    // There is no file beside the page: `load` is always given the module.
    .map((part) => part.replaceAll("import.meta.url", "document.baseURI").replaceAll('await import("node:fs/promises")', "{}"))
    .join("\n");
  for (const left of text.match(/^(import|export)\b.*/gm) ?? []) throw new Error(`build.mjs does not understand: ${left}`);
  if (/<\/script|<!--/i.test(text)) throw new Error("a script may not hold the end of a script");
  return `"use strict";\n(() => {\n${text}})();\n`;
}

async function page() {
  const [html, style, code, module] = [await read("index.html"), await read("style.css"), await script(), await readFile(here("../js/casemate.wasm"))];
  const packed = deflateRawSync(module, { level: 9 }).toString("base64");
  const policy = [
    "default-src 'none'",
    `script-src ${hash(code)} 'wasm-unsafe-eval'`,
    `style-src ${hash(style)}`,
    "img-src data:",
    // For "Ask an address", and nothing else.
    "connect-src https: http://localhost:* http://127.0.0.1:*",
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const { version } = JSON.parse(await read("../js/package.json"));
  const digest = createHash("sha256").update(module).digest("hex");
  const parts = {
    policy: `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    style: `<style>${style}</style>`,
    script: `<script type="application/octet-stream" id="module">${packed}</script>\n<script>${code}</script>`,
  };
  return html
    .replace(/<!-- build: (\w+) -->/g, (_, name) => parts[name])
    .replace('<span id="version"></span>', `Version ${version}, module ${digest.slice(0, 6)}..${digest.slice(-4)}.`);
}

const folder = here("../../target/web/");
await mkdir(folder, { recursive: true });
const text = await page();
await writeFile(new URL("index.html", folder), text);
console.error(`target/web/index.html: ${Buffer.byteLength(text)} bytes`);
