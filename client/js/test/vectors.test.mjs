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
async function native(request, paths) {
  const { stdout } = await promisify(execFile)(ask, [JSON.stringify(request), ...paths], { maxBuffer: 16 << 20 });
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
        const question = { policy, at_ms: at, subject: vector.name };
        assert.deepEqual((await native({ verify: question }, paths)).answer, answer, context);
      }
      judged += 1;
    }
  }
  assert.ok(judged > 0);
  console.log(`${judged} appraisals of ${vectors().length} vectors in Node`);
});

test("every vector says what it states when it is inspected, and what the native verifier says", { skip: !present() }, async () => {
  const casemate = await load();
  let inspected = 0;
  for (const vector of vectors()) {
    for (const { at, paths, faults } of vector.inspections) {
      const inspection = casemate.inspect(paths.map((path) => ({ name: basename(path), bytes: readFileSync(path) })), { at });
      assert.deepEqual(faults(inspection), [], vector.name);
      assert.deepEqual(inspection, (await native({ inspect: { at_ms: at } }, paths)).inspection, vector.name);
      inspected += 1;
    }
  }
  assert.ok(inspected > 0);
  console.log(`${inspected} inspections of ${vectors().length} vectors in Node`);
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
