// The recorded evidence, as cases: what is handed over, when it is judged, and what must come out.

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join } from "node:path";

import { faults } from "./fields.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Where the vectors are. They are not part of the project. */
export const folder = process.env.CASEMATE_VECTORS ?? here("../../../../shared/vectors");
const table = JSON.parse(readFileSync(here("../../vectors.json"), "utf8"));

/** Whether there are vectors; says so if not, and fails in CI. */
export function present() {
  if (existsSync(folder)) return true;
  if (process.env.CI) throw new Error(`no vectors in ${folder}; CI needs them`);
  console.error(`NOT RUN: no vectors in ${folder}; set CASEMATE_VECTORS`);
  return false;
}

/**
 * Every vector of every kind: `{ name, json, cases, inspections }`. A case has `paths`, `at` and `expected`; an inspection
 * `paths` and `at`, and tells of an answer what is not as the vector states.
 */
export function vectors() {
  const kinds = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return kinds.flatMap(({ name: kind }) => {
    if (kind in table.not_asked) return [];
    const rules = table.kinds[kind];
    if (!rules) throw new Error(`client/vectors.json has no kind ${kind}`);
    const names = readdirSync(join(folder, kind), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    if (names.length === 0) throw new Error(`${kind} holds no vectors`);
    return names.map(({ name }) => vector(kind, name, rules));
  });
}

function vector(kind, name, rules) {
  const path = (file) => join(folder, kind, name, file);
  const json = JSON.parse(readFileSync(path("vector.json"), "utf8"));
  const meaning = rules.results[json.expected.result];
  if (!meaning) throw new Error(`client/vectors.json does not say what ${json.expected.result} of ${kind}/${name} means`);
  const vector = { name: `${kind}/${name}`, json, inspections: inspections({ json, rules, table }, path), cases: [] };
  if (!rules.files) return vector;
  const paths = rules.files.map(path).filter((file) => existsSync(file) && statSync(file).size > 0);
  if (paths.length === 0) throw new Error(`${kind}/${name} has none of ${rules.files.join(", ")}`);
  const key = rules.enrolled_key && path(rules.enrolled_key);
  const enrolled = key && existsSync(key) ? digestOf(readFileSync(key, "utf8")) : undefined;
  const cases = times(json.expected, meaning).map(({ at, expected, beside }) => ({
    at,
    expected,
    enrolled,
    rules: rules.policy,
    paths: beside ? [...paths, path(beside)] : paths,
  }));
  return { ...vector, cases };
}

/** All files of a vector, at the times at which its certificates are looked at. */
function inspections(vector, path) {
  const { valid_from, valid_until, result } = vector.json.expected;
  const names = Object.keys(vector.json.files).filter((file) => statSync(path(file)).size > 0);
  const [start, end] = [Date.parse(valid_from ?? "2025-01-01T00:00:00Z"), Date.parse(valid_until)];
  const times = [{ at: start, holds: true }];
  if (valid_until && vector.rules.results[result] === "path") {
    const inside = Math.floor((start + end) / 2000) * 1000;
    times.push({ at: inside, holds: true }, { at: end, holds: true });
    times.push({ at: start - 1000, holds: false }, { at: end + 1000, holds: false });
  }
  return times.map((time) => ({
    at: time.at,
    paths: names.map(path),
    faults: (inspection) => faults(vector, names, inspection, time),
  }));
}

/** SHA-256 of the key in PEM, as a policy lists it. */
function digestOf(pem) {
  const der = Buffer.from(pem.replace(/-----[^-]*-----/g, ""), "base64");
  return createHash("sha256").update(der).digest("hex");
}

/** When evidence is judged, with what beside it, and what must come out. */
function times({ valid_from, valid_until, runs }, meaning) {
  if (runs) return runs.flatMap((run) => timesOfRun(run, meaning));
  if (!valid_from) return [{ at: Date.parse("2025-01-01T00:00:00Z"), expected: meaning }];
  const [start, end] = [Date.parse(valid_from), Date.parse(valid_until)];
  const inside = [start, Math.floor((start + end) / 2000) * 1000, end].map((at) => ({ at, expected: meaning }));
  return [...inside, { at: start - 1000, expected: "not_genuine" }, { at: end + 1000, expected: "not_genuine" }];
}

/** Collateral is good until its end, and a day later it is not. */
function timesOfRun({ timestamp, collateral: beside, valid_until }, meaning) {
  const now = { at: 1000 * timestamp, expected: meaning, beside };
  if (meaning !== "genuine") return [now];
  const end = Date.parse(valid_until);
  return [now, { at: end, expected: meaning, beside }, { at: end + 86_400_000, expected: "not_genuine", beside }];
}

/** The policy with which hardware of any age passes, if it is genuine. */
export function lenient(hardwareOnly, { enrolled, rules: ofKind = { replace: [], append: "" } } = {}) {
  const { replace, append, enrolled: [none, listed] } = table.policy;
  const rules = enrolled ? append.replace(none, listed.replace("@DIGEST@", enrolled)) : append;
  const changes = [...replace, ...ofKind.replace];
  const changed = changes.reduce((text, [from, to]) => text.replace(new RegExp(from, "gm"), to), hardwareOnly);
  return changed + rules + ofKind.append;
}

/** Whether this is what had to come out under the lenient policy. */
export function isExpected({ expected }, { outcome, groups }) {
  if (expected === "not_genuine") return outcome === "not_genuine";
  if (expected === "not_verified") return outcome !== "verified";
  return outcome !== "not_genuine" && failed(groups).every((code) => table.policy.may_fail.includes(code));
}

function failed(nodes) {
  return nodes.flatMap((node) => (node.checks ? failed(node.checks) : node.status === "failed" ? [node.code] : []));
}
