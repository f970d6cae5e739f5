// Recorded evidence: Node gets the expected answer, and the one that the native verifier gives, byte for byte.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { load } from "../casemate.js";
import { isExpected, lenient, present, vectors } from "./table.mjs";

const ask = fileURLToPath(new URL("../../../target/debug/examples/ask", import.meta.url));

/** The reply of the native verifier. */
async function native(question, paths) {
  const request = JSON.stringify({ verify: question });
  const { stdout } = await promisify(execFile)(ask, [request, ...paths], { maxBuffer: 16 << 20 });
  return JSON.parse(stdout);
}

test("every vector gives the expected answer, and the native one", { skip: !present() }, async () => {
  const casemate = await load();
  const policies = casemate.policies();
  let judged = 0;
  for (const vector of vectors()) {
    for (const one of vector.cases) {
      const { at, paths, expected } = one;
      const files = paths.map((path) => ({ name: basename(path), bytes: readFileSync(path) }));
      const context = `${vector.name} at ${new Date(at).toISOString()}: ${expected}`;
      for (const policy of [lenient(policies.hardware_only, one), policies.example]) {
        const answer = casemate.verify(files, { policy, at, subject: vector.name });
        if (policy !== policies.example) assert.ok(isExpected(one, answer.verdict), `${context}\n${answer.text}`);
        const request = { policy, at_ms: at, subject: vector.name };
        assert.deepEqual((await native(request, paths)).answer, answer, context);
      }
      judged += 1;
    }
  }
  assert.ok(judged > 0);
  console.log(`${judged} appraisals of ${vectors().length} vectors in Node`);
});

test("any order and any encoding of the files gives the same verdict", { skip: !present() }, async () => {
  const casemate = await load();
  const { hardware_only: policy } = casemate.policies();
  const vector = vectors().find(({ name }) => name.startsWith("snp/turin-"));
  const [{ at, paths }] = vector.cases;
  const bytes = paths.map((path) => readFileSync(path));
  const { verdict } = casemate.verify(bytes, { policy, at });
  assert.deepEqual(casemate.verify([...bytes].reverse(), { policy, at }).verdict, verdict);
  for (const encoding of ["hex", "base64", "base64url"]) {
    const [report, ...rest] = bytes;
    for (const written of [report.toString(encoding), `  ${report.toString(encoding)}\n`]) {
      const text = new TextEncoder().encode(written);
      assert.deepEqual(casemate.verify([text, ...rest], { policy, at }).verdict, verdict, encoding);
    }
  }
});
