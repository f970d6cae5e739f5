// The library's own edges: what it takes, what it refuses, and what it weighs.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { Casemate, CasemateError, load } from "../casemate.js";

const wasm = readFileSync(new URL("../casemate.wasm", import.meta.url));
const casemate = await load();
const { hardware_only: policy } = casemate.policies();

/** The error that a call ends with. */
function refusal(call) {
  try {
    call();
  } catch (error) {
    assert.ok(error instanceof CasemateError, String(error));
    assert.ok(error.hint.length > 0);
    return error.code;
  }
  return assert.fail("there was an answer");
}

test("the module needs nothing of its surroundings, and stays below its limit", async () => {
  assert.deepEqual(WebAssembly.Module.imports(await WebAssembly.compile(wasm)), []);
  const compressed = gzipSync(wasm, { level: 9 }).length;
  assert.ok(compressed < 700_000, `${compressed} bytes`);
});

test("it starts from bytes, a response, a module and its own file", async () => {
  for (const source of [wasm, new Response(wasm), Promise.resolve(new Response(wasm)), await WebAssembly.compile(wasm)]) {
    assert.deepEqual((await load(source)).policies(), casemate.policies());
  }
});

test("each way to have nothing to judge has its own code", () => {
  const report = new Uint8Array(1184).fill(3);
  const judge = (files, question = {}) => refusal(() => casemate.verify(files, { policy, ...question }));
  assert.equal(judge([]), "no_evidence");
  assert.equal(judge([new Uint8Array([1, 2, 3])]), "unknown");
  assert.equal(judge([report, report]), "twice");
  assert.equal(judge([new Uint8Array([0x82, 1])]), "bundle");
  assert.equal(judge([new Uint8Array([0x30, 0x82])]), "certificates");
  assert.equal(judge(Array(33).fill(report)), "too_many");
  assert.equal(judge([new Uint8Array((8 << 20) + 1)]), "too_long");
  assert.equal(judge([report], { policy: "version = 1" }), "policy");
  assert.equal(judge([report], { at: Number.NaN }), "question");
  assert.equal(judge([report], { workload: { digest: "00", source: "" } }), "question");
  assert.equal(judge([report], { challenge: { nonce: "00".repeat(32), madeAt: 0 } }), "no_session");
  assert.equal(judge([report], { challenge: { application: "43534d31", madeAt: 0 } }), "chosen");
  assert.equal(judge([report], { challenge: { application: "" } }), "chosen");
  assert.throws(() => casemate.verify(["text"], { policy }), TypeError);
});

test("evidence that is not good enough is an answer", () => {
  const { verdict, outline, text, kinds } = casemate.verify([new Uint8Array(1184).fill(3)], { policy, subject: "it" });
  assert.equal(verdict.outcome, "not_genuine");
  assert.deepEqual(kinds, ["snp_report"]);
  assert.equal(outline.sentence, "it shows NO genuine evidence");
  assert.ok(text.startsWith(outline.sentence) && text.includes(outline.hints[0]));
});

test("files are recognised one by one", () => {
  const [known, unknown] = casemate.recognise([{ name: "a", bytes: new Uint8Array(1184) }, new Uint8Array([9])]);
  assert.deepEqual(known, { kind: { kind: "snp_report", name: "SEV-SNP report" } });
  assert.equal(unknown.error.code, "unknown");
  assert.match(unknown.error.message, /^file 2 /);
});

test("after a fault the next call starts anew, and only then", async (t) => {
  let started = 0;
  const { Instance } = WebAssembly;
  t.mock.method(WebAssembly, "Instance", function (...given) {
    started += 1;
    return new Instance(...given);
  });
  const faulty = new Casemate(await WebAssembly.compile(stopsAtOnce()));
  assert.deepEqual([refusal(() => faulty.policies()), refusal(() => faulty.policies()), started], ["stopped", "stopped", 2]);
  const sound = await load(wasm);
  sound.policies();
  assert.equal(refusal(() => sound.verify([], { policy })), "no_evidence");
  assert.equal(started, 3);
});

/** A module with the functions of the verifier's, of which the one that answers is `unreachable`. */
function stopsAtOnce() {
  const text = (name) => [name.length, ...new TextEncoder().encode(name)];
  const section = (number, ...bytes) => [number, bytes.length, ...bytes];
  const [i32, code] = [0x7f, (...body) => [body.length + 2, 0, ...body, 0x0b]];
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, 3, 0x60, 1, i32, 1, i32, 0x60, 2, i32, i32, 1, i32, 0x60, 2, i32, i32, 0),
    ...section(3, 3, 0, 1, 2),
    ...section(5, 1, 0, 1),
    ...section(7, 4, ...text("memory"), 2, 0, ...text("casemate_allocate"), 0, 0, ...text("casemate_answer"), 0, 1, ...text("casemate_free"), 0, 2),
    ...section(10, 3, ...code(0x41, 0), ...code(0x00), ...code()),
  ]);
}
